import type { Rect } from '../canvas.ts'
import { itemAt, type Random } from '../random.ts'
import { circle, polyline, rectangle } from '../shapes.ts'
import type { Scene, Stage } from './scene.ts'

/** A grid of quarter circles, leaves, rings and stripes in flat colours, as the Bauhaus taught it. */
export const tiles: Scene = {
  carriesLetters: false,
  draw: (stage) => {
    const { canvas, frame, palette, random, around } = stage
    const edge = Math.min(frame.width, frame.height) / random.whole(3, 4)
    const columns = Math.max(1, Math.round(frame.width / edge))
    const rows = Math.max(1, Math.round(frame.height / edge))
    const grounds = [palette.paper, ...palette.colours, palette.ink].filter((colour) => colour !== around)
    const taken = new Set<string>()
    const ground = palette.colours.at(-1) ?? palette.ink
    canvas.add('path', { d: rectangle(frame), fill: ground })
    let colour = random.whole(0, grounds.length - 1)
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        if (taken.has(`${column} ${row}`)) continue
        const fits = column + 1 < columns && row + 1 < rows && !taken.has(`${column + 1} ${row}`)
        const span = fits && random.chance(0.16) ? 2 : 1
        for (let cell = 0; cell < span * span; cell++) taken.add(`${column + (cell % span)} ${row + Math.floor(cell / span)}`)
        // A step of two to four through at least six colours never repeats the neighbour's ground.
        colour += random.pick([2, 3, 4])
        const marks = random.shuffle(grounds.filter((candidate) => candidate !== itemAt(grounds, colour)))
        const tile = {
          x: frame.x + (column * frame.width) / columns,
          y: frame.y + (row * frame.height) / rows,
          width: (frame.width / columns) * span,
          height: (frame.height / rows) * span
        }
        drawTile(stage, tile, itemAt(grounds, colour), marks)
      }
    }
    return ground
  }
}

function drawTile({ canvas, random }: Stage, tile: Rect, ground: string, [mark = ground, accent = mark]: readonly string[]) {
  // Half a pixel of overlap hides the seams between neighbours.
  canvas.add('path', { d: rectangle({ ...tile, width: tile.width + 0.5, height: tile.height + 0.5 }), fill: ground })
  const turn = 90 * random.whole(0, 3)
  // Motifs are drawn on a square of 100 by 100 around the origin and put in place by a transformation.
  const place = `translate(${tile.x + tile.width / 2} ${tile.y + tile.height / 2}) scale(${tile.width / 100} ${tile.height / 100}) rotate(${turn})`
  for (const { d, isAccent } of random.pick(motifs)(random)) canvas.add('path', { d, fill: isAccent ? accent : mark, transform: place })
}

interface Shape {
  d: string
  isAccent?: boolean
}

const quarter = (radius: number) => `M-50 -50H${radius - 50}A${radius} ${radius} 0 0 1 -50 ${radius - 50}z`
const half = (radius: number) => `M-50 ${-radius}A${radius} ${radius} 0 0 1 -50 ${radius}z`
const leaf = 'M-50 -50A100 100 0 0 1 50 50A100 100 0 0 1 -50 -50z'

const motifs: readonly ((random: Random) => Shape[])[] = [
  () => [{ d: quarter(100) }],
  () => [{ d: quarter(100) }, { d: quarter(50), isAccent: true }],
  () => [{ d: `${quarter(100)}${quarter(75)}` }, { d: quarter(66), isAccent: true }, { d: quarter(33) }],
  () => [{ d: half(50) }, { d: 'M50 -50A50 50 0 0 0 50 50z', isAccent: true }],
  () => [{ d: half(50) }, { d: 'M0 -50A50 50 0 0 1 0 50z', isAccent: true }],
  () => [{ d: leaf }],
  () => [{ d: leaf }, { d: circle(0, 0, 11), isAccent: true }],
  () => [{ d: circle(0, 0, 50) }, { d: circle(0, 0, 24), isAccent: true }],
  () => [{ d: circle(0, 0, 36) }],
  () => [
    {
      d: polyline([
        { x: -50, y: 50 },
        { x: -50, y: -50 },
        { x: 50, y: 50 }
      ])
    },
    { d: circle(18, -18, 15), isAccent: true }
  ],
  () => [
    {
      d: polyline([
        { x: -50, y: 50 },
        { x: 0, y: -50 },
        { x: 50, y: 50 }
      ])
    }
  ],
  () => [{ d: [-40, -13.33, 13.33, 40].map((y) => rectangle({ x: -50, y: y - 6.67, width: 100, height: 13.33 })).join('') }],
  () => [
    {
      d: grid(4)
        .map(({ x, y }) => circle(x, y, 6))
        .join('')
    }
  ],
  () => [{ d: [0, 90, 180, 270].map(petal).join('') }, { d: circle(0, 0, 9), isAccent: true }],
  () => [{ d: 'M-50 -50H0A50 50 0 0 1 -50 0zM0 0H50A50 50 0 0 1 0 50z' }, { d: 'M50 -50V0A50 50 0 0 1 0 -50z', isAccent: true }]
]

function grid(count: number) {
  return Array.from({ length: count * count }, (_, index) => ({
    x: -50 + (100 * ((index % count) + 0.5)) / count,
    y: -50 + (100 * (Math.floor(index / count) + 0.5)) / count
  }))
}

/** A leaf from the middle to a corner. */
function petal(turn: number): string {
  const [x, y] = [turn === 0 || turn === 270 ? 46 : -46, turn < 180 ? 46 : -46]
  return `M0 0A46 46 0 0 1 ${x} ${y}A46 46 0 0 1 0 0z`
}
