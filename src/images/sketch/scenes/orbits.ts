import { px } from '../canvas.ts'
import { mix } from '../colour.ts'
import { circle, rectangle } from '../shapes.ts'
import type { Scene, Stage } from './scene.ts'

/** A banded planet with moons on thin orbits in a starry dusk. */
export const orbits: Scene = {
  carriesLetters: false,
  draw: (stage) => {
    const { canvas, frame, palette, random, unit } = stage
    const deep = mix(palette.ink, palette.colours[4] ?? palette.ink, 0.25)
    const dusk = mix(palette.colours[4] ?? deep, palette.colours[3] ?? deep, 0.35)
    canvas.add('path', { d: rectangle(frame), fill: canvas.gradient([deep, dusk], random.pick([60, 90, 120])) })
    drawStars(stage)
    const x = frame.x + frame.width * random.between(0.34, 0.66)
    const y = frame.y + frame.height * random.between(0.4, 0.6)
    const radius = Math.min(frame.width, frame.height) * random.between(0.19, 0.25)
    const rings = [1.55, 2.05, 2.65, 3.4, 4.3].map((ring) => ring * radius)
    for (const [index, ring] of rings.entries()) {
      canvas.add('path', { d: circle(x, y, ring), fill: palette.colours[3], 'fill-opacity': 0.075 - index * 0.008 })
      const dash = index % 2 === 1 ? `${unit * 0.003} ${unit * 0.014}` : undefined
      canvas.add('path', {
        d: circle(x, y, ring),
        fill: 'none',
        stroke: palette.paper,
        'stroke-opacity': 0.42,
        'stroke-width': unit * 0.0024,
        'stroke-linecap': 'round',
        'stroke-dasharray': dash
      })
    }
    drawPlanet(stage, x, y, radius)
    for (const [index, ring] of rings.entries()) drawMoon(stage, x, y, ring, index)
    return dusk
  }
}

function drawStars({ canvas, frame, palette, random, unit }: Stage) {
  const star = (smallest: number, largest: number) =>
    circle(frame.x + random.next() * frame.width, frame.y + random.next() * frame.height, unit * random.between(smallest, largest))
  canvas.add('path', { d: Array.from({ length: 190 }, () => star(0.0007, 0.0018)).join(''), fill: palette.paper, 'fill-opacity': 0.6 })
  canvas.add('path', { d: Array.from({ length: 22 }, () => star(0.002, 0.0038)).join(''), fill: palette.colours[0] })
}

function drawPlanet({ canvas, palette, random }: Stage, x: number, y: number, radius: number) {
  const [light = palette.paper, warm = light, middle = warm] = palette.colours
  const turned = `rotate(${px(random.between(-28, 28))} ${px(x)} ${px(y)})`
  canvas.add('path', { d: circle(x, y, radius * 1.09), fill: light, 'fill-opacity': 0.16 })
  const hasRing = random.chance(0.6)
  const ring = (sweep: number) =>
    `M${px(x - radius * 1.5)} ${px(y)}A${px(radius * 1.5)} ${px(radius * 0.36)} 0 0 ${sweep} ${px(x + radius * 1.5)} ${px(y)}`
  const band = { fill: 'none', stroke: palette.paper, 'stroke-width': radius * 0.075, transform: turned }
  if (hasRing) canvas.add('path', { ...band, d: ring(1), 'stroke-opacity': 0.55 })
  canvas.add('path', { d: circle(x, y, radius), fill: light })
  for (let top = -radius; top < radius; ) {
    const bottom = Math.min(radius, top + radius * random.between(0.1, 0.34))
    const fill = random.pick([light, warm, middle, mix(light, warm, 0.5)])
    canvas.add('path', { d: slice(x, y, radius, top, bottom), fill, transform: turned })
    top = bottom
  }
  canvas.add('path', { d: nightSide(x, y, radius), fill: palette.ink, 'fill-opacity': 0.3 })
  if (hasRing) canvas.add('path', { ...band, d: ring(0) })
}

/** The part of a disc between two heights, which count from its middle. */
function slice(x: number, y: number, radius: number, top: number, bottom: number): string {
  const halfWidth = (height: number) => Math.sqrt(Math.max(0, radius ** 2 - height ** 2))
  const [upper, lower, r] = [halfWidth(top), halfWidth(bottom), px(radius)]
  const edge = (toX: number, toY: number) => `A${r} ${r} 0 0 1 ${px(x + toX)} ${px(y + toY)}`
  return `M${px(x - upper)} ${px(y + top)}H${px(x + upper)}${edge(lower, bottom)}H${px(x - lower)}${edge(-upper, top)}z`
}

/** The crescent of a disc that light from the upper left does not reach. */
function nightSide(x: number, y: number, radius: number): string {
  const [r, reach] = [px(radius), Math.SQRT1_2 * radius]
  const inner = px(radius * 1.35)
  return `M${px(x + reach)} ${px(y - reach)}A${r} ${r} 0 0 1 ${px(x - reach)} ${px(y + reach)}A${inner} ${inner} 0 0 0 ${px(x + reach)} ${px(y - reach)}z`
}

function drawMoon({ canvas, frame, palette, random, unit }: Stage, x: number, y: number, ring: number, index: number) {
  const size = unit * random.between(0.012, 0.034)
  const inFrame = (angle: number) => {
    const at = { x: x + Math.cos(angle) * ring, y: y + Math.sin(angle) * ring }
    const isInside =
      at.x > frame.x + size && at.x < frame.x + frame.width - size && at.y > frame.y + size && at.y < frame.y + frame.height - size
    return isInside ? at : undefined
  }
  const first = random.between(0, 2 * Math.PI)
  const at = Array.from({ length: 24 }, (_, step) => inFrame(first + (step * Math.PI) / 12)).find((point) => point !== undefined)
  if (at === undefined) return
  const colour = palette.colours[index % 3] ?? palette.paper
  canvas.add('path', { d: circle(at.x, at.y, size), fill: colour })
  canvas.add('path', { d: nightSide(at.x, at.y, size), fill: palette.ink, 'fill-opacity': 0.3 })
}
