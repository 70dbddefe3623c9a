import { type Point, px, type Rect } from '../canvas.ts'
import { lightness } from '../colour.ts'
import { itemAt, type Random } from '../random.ts'
import { circle, rectangle } from '../shapes.ts'
import type { Scene, Stage } from './scene.ts'

/** Leafy paper cut-outs, one on each of a few patches of colour. */
export const fronds: Scene = {
  carriesLetters: false,
  draw: (stage) => {
    const { canvas, frame, palette, random, around } = stage
    const colours = random.shuffle([palette.paper, ...palette.colours]).filter((colour) => colour !== around)
    const patches: (Rect & { ground: string })[] = []
    for (const [index, rect] of divide(random, frame, Math.min(frame.width, frame.height) * 0.24, 3).entries()) {
      const neighbours = patches.filter((patch) => touch(patch, rect)).map((patch) => patch.ground)
      const rotated = colours.map((_, step) => itemAt(colours, index + step))
      const ground = rotated.find((colour) => !neighbours.includes(colour)) ?? palette.paper
      patches.push({ ...rect, ground })
    }
    for (const patch of patches) {
      canvas.add('path', { d: rectangle({ ...patch, width: patch.width + 0.5, height: patch.height + 0.5 }), fill: patch.ground })
      const standsOut = (colour: string) => Math.abs(lightness(colour) - lightness(patch.ground)) > 0.17
      const mark = random.pick([palette.ink, palette.paper, ...palette.colours].filter(standsOut))
      random.pick([drawFrond, drawFrond, drawSprig, drawSprig, drawBloom, drawPebbles])(stage, patch, mark)
    }
    return palette.paper
  }
}

function touch(a: Rect, b: Rect): boolean {
  const meet = (from: number, length: number, otherFrom: number, otherLength: number) =>
    from <= otherFrom + otherLength + 0.01 && otherFrom <= from + length + 0.01
  return meet(a.x, a.width, b.x, b.width) && meet(a.y, a.height, b.y, b.height)
}

/** Cuts a rectangle at uneven places until the pieces are small, or `depth` cuts deep. */
function divide(random: Random, rect: Rect, smallest: number, depth: number): Rect[] {
  const isWide = rect.width > rect.height * random.between(0.8, 1.25)
  const length = isWide ? rect.width : rect.height
  if (depth === 0 || length < smallest * 2) return [rect]
  const cut = length * random.between(0.38, 0.62)
  const [first, second] = isWide
    ? [
        { ...rect, width: cut },
        { ...rect, x: rect.x + cut, width: rect.width - cut }
      ]
    : [
        { ...rect, height: cut },
        { ...rect, y: rect.y + cut, height: rect.height - cut }
      ]
  return [...divide(random, first, smallest, depth - 1), ...divide(random, second, smallest, depth - 1)]
}

/** A bent stem with rounded lobes on both sides, shorter towards the tip. */
function drawFrond({ canvas, random }: Stage, patch: Rect, colour: string) {
  const isUpright = patch.height > patch.width * 0.8
  const length = (isUpright ? patch.height : patch.width) * 0.8
  const breadth = Math.min((isUpright ? patch.width : patch.height) * 0.8, length * 0.75)
  const bend = random.between(-0.16, 0.16) * breadth
  const lobes = random.whole(4, 6)
  const thick = Math.min((length / lobes) * 0.62, breadth * 0.28)
  const spine = (place: number): Point => ({ x: bend * Math.sin(place * Math.PI), y: length * (0.5 - place) })
  const strokes = [`M${point(spine(0))}Q${px(bend * 2)} 0 ${point(spine(1))}`]
  for (let lobe = 0; lobe < lobes; lobe++) {
    const root = spine((lobe + 0.15) / lobes)
    const reach = (breadth / 2 - thick / 2) * (1 - 0.55 * (lobe / lobes)) * random.between(0.88, 1)
    for (const side of [-1, 1]) {
      const tip = { x: root.x + side * reach, y: root.y - reach * random.between(0.5, 0.75) }
      strokes.push(`M${point(root)}Q${px(root.x + side * reach * 0.75)} ${px(root.y)} ${point(tip)}`)
    }
  }
  const turn = (isUpright ? 0 : 90) + random.between(-9, 9)
  canvas.add('path', {
    d: strokes.join(''),
    fill: 'none',
    stroke: colour,
    'stroke-width': thick,
    'stroke-linecap': 'round',
    transform: `translate(${px(patch.x + patch.width / 2)} ${px(patch.y + patch.height / 2)}) rotate(${px(turn)})`
  })
}

/** A straight stem with a pointed leaf at its tip and pairs of them below. */
function drawSprig({ canvas, random }: Stage, patch: Rect, colour: string) {
  const isUpright = patch.height > patch.width * 0.8
  const length = (isUpright ? patch.height : patch.width) * 0.78
  const breadth = Math.min((isUpright ? patch.width : patch.height) * 0.8, length * 0.8)
  const pairs = random.whole(3, 4)
  const leafLength = Math.min(breadth * 0.56, (length / pairs) * 1.05)
  const plump = leafLength * random.between(0.42, 0.56)
  const leaf = (root: Point, degrees: number) => {
    const [dx, dy] = [Math.sin((degrees * Math.PI) / 180), -Math.cos((degrees * Math.PI) / 180)]
    const belly = (side: number) =>
      `${px(root.x + (dx * leafLength) / 2 - dy * plump * side)} ${px(root.y + (dy * leafLength) / 2 + dx * plump * side)}`
    return `M${point(root)}Q${belly(1)} ${px(root.x + dx * leafLength)} ${px(root.y + dy * leafLength)}Q${belly(-1)} ${point(root)}z`
  }
  const top = leafLength - length / 2
  const leaves = Array.from({ length: pairs }, (_, index) => {
    const root = { x: 0, y: top + ((length / 2 - top) * (index + 0.42)) / pairs }
    const spread = random.between(50, 62)
    return leaf(root, spread) + leaf(root, -spread)
  })
  const turn = (isUpright ? 0 : 90) + random.between(-8, 8)
  const transform = `translate(${px(patch.x + patch.width / 2)} ${px(patch.y + patch.height / 2)}) rotate(${px(turn)})`
  const stem = { stroke: colour, 'stroke-width': leafLength * 0.09, 'stroke-linecap': 'round' }
  canvas.add('path', { d: `M0 ${px(length / 2)}L0 ${px(top)}`, fill: 'none', ...stem, transform })
  canvas.add('path', { d: [leaf({ x: 0, y: top }, 0), ...leaves].join(''), fill: colour, transform })
}

/** Petals around an eye. */
function drawBloom({ canvas, palette, random }: Stage, patch: Rect, colour: string) {
  const reach = Math.min(patch.width, patch.height) * 0.33
  const petals = random.whole(6, 9)
  const [x, y] = [patch.x + patch.width / 2, patch.y + patch.height / 2]
  const strokes = Array.from({ length: petals }, (_, index) => {
    const angle = (index / petals) * 2 * Math.PI
    return `M${px(x + Math.cos(angle) * reach * 0.45)} ${px(y + Math.sin(angle) * reach * 0.45)}L${px(x + Math.cos(angle) * reach)} ${px(y + Math.sin(angle) * reach)}`
  })
  canvas.add('path', {
    d: strokes.join(''),
    fill: 'none',
    stroke: colour,
    'stroke-width': (reach / petals) * 3.1,
    'stroke-linecap': 'round'
  })
  canvas.add('path', { d: circle(x, y, reach * 0.24), fill: colour === palette.colours[0] ? palette.ink : palette.colours[0] })
}

/** A sun, or a few round pebbles in a column. */
function drawPebbles({ canvas, random }: Stage, patch: Rect, colour: string) {
  const isUpright = patch.height > patch.width
  const [long, short] = isUpright ? [patch.height, patch.width] : [patch.width, patch.height]
  const count = Math.max(1, Math.min(3, Math.round(long / short)))
  const discs = Array.from({ length: count }, (_, index) => {
    const place = ((index + 0.5) / count) * long
    const radius = (Math.min(long / count, short) / 2) * random.between(0.5, 0.72)
    return isUpright ? circle(patch.x + short / 2, patch.y + place, radius) : circle(patch.x + place, patch.y + short / 2, radius)
  })
  canvas.add('path', { d: discs.join(''), fill: colour })
}

function point({ x, y }: Point): string {
  return `${px(x)} ${px(y)}`
}
