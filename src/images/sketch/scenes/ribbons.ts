import { type Point, px, type Rect } from '../canvas.ts'
import { mix } from '../colour.ts'
import type { Random } from '../random.ts'
import { circle, rectangle } from '../shapes.ts'
import type { Scene, Stage } from './scene.ts'

/** Bundles of parallel stripes that run straight and turn in wide arcs, as on a wall of the seventies. */
export const ribbons: Scene = {
  carriesLetters: false,
  draw: (stage) => {
    const { canvas, frame, palette, random, unit, around } = stage
    const isDark = around !== palette.ink && random.chance(0.35)
    const ground = isDark ? palette.ink : mix(palette.paper, palette.colours[0] ?? palette.paper, random.pick([0.12, 0.3]))
    canvas.add('path', { d: rectangle(frame), fill: ground })
    const width = unit * random.between(0.048, 0.062)
    const stripes = random.chance(0.5) ? palette.colours : [...palette.colours].reverse()
    const sun = { x: frame.x + frame.width * random.between(0.2, 0.8), y: frame.y + frame.height * random.between(0.18, 0.42) }
    canvas.add('path', { d: circle(sun.x, sun.y, unit * random.between(0.13, 0.19)), fill: stripes[isDark ? 0 : 1] ?? palette.ink })
    const routes = random.shuffle([serpentine, loop, cascade]).slice(0, random.whole(1, 2))
    routes.forEach((route, index) => {
      drawBundle(stage, route(random, frame, width * stripes.length), index === 0 ? stripes : [...stripes].reverse(), width)
    })
    return ground
  }
}

/** Where a bundle begins, where it heads (0 right, 90 down), and how it goes on: a length, or a turn to the left or right with a radius. */
interface Route {
  start: Point
  heading: number
  moves: readonly ({ ahead: number } | { turn: number; radius: number })[]
}

function drawBundle({ canvas, palette }: Stage, route: Route, stripes: readonly string[], width: number) {
  const middle = (stripes.length - 1) / 2
  stripes.forEach((colour, index) => {
    const d = trace(route, (index - middle) * width)
    // A hair wider than the distance, so that no ground shows between two stripes.
    canvas.add('path', { d, fill: 'none', stroke: colour, 'stroke-width': width * 1.02 })
  })
  for (const offset of [-stripes.length / 2, stripes.length / 2]) {
    const d = trace(route, offset * width)
    canvas.add('path', { d, fill: 'none', stroke: palette.ink, 'stroke-opacity': 0.14, 'stroke-width': width * 0.09 })
  }
}

/** The path of one stripe, `offset` to the right of the route. */
function trace({ start, heading, moves }: Route, offset: number): string {
  let angle = (heading * Math.PI) / 180
  let at = { x: start.x, y: start.y }
  const aside = () => `${px(at.x - Math.sin(angle) * offset)} ${px(at.y + Math.cos(angle) * offset)}`
  let d = `M${aside()}`
  for (const move of moves) {
    if ('ahead' in move) {
      at = { x: at.x + Math.cos(angle) * move.ahead, y: at.y + Math.sin(angle) * move.ahead }
      d += `L${aside()}`
      continue
    }
    const side = Math.sign(move.turn)
    const centre = { x: at.x - Math.sin(angle) * move.radius * side, y: at.y + Math.cos(angle) * move.radius * side }
    angle += (move.turn * Math.PI) / 180
    at = { x: centre.x + Math.sin(angle) * move.radius * side, y: centre.y - Math.cos(angle) * move.radius * side }
    const radius = px(move.radius - offset * side)
    d += `A${radius} ${radius} 0 ${Math.abs(move.turn) > 180 ? 1 : 0} ${side > 0 ? 1 : 0} ${aside()}`
  }
  return d
}

/** In from the left, down in switchbacks. */
function serpentine(random: Random, frame: Rect, breadth: number): Route {
  const radius = breadth * random.between(0.62, 0.8)
  const inset = breadth * 0.75 + radius
  const straight = Math.max(breadth * 0.2, frame.width - 2 * inset)
  const turns = Math.max(2, Math.ceil(frame.height / (2 * radius)) + 1)
  const moves = Array.from({ length: turns }, (_, index) => [
    { turn: index % 2 === 0 ? 180 : -180, radius },
    { ahead: index === turns - 1 ? frame.width * 2 : straight }
  ]).flat()
  const start = { x: frame.x - breadth, y: frame.y + frame.height * random.between(0.08, 0.2) }
  return { start, heading: 0, moves: [{ ahead: breadth + inset + straight }, ...moves] }
}

/** In from one side, once around, out on the other. */
function loop(random: Random, frame: Rect, breadth: number): Route {
  const radius = Math.max(breadth * 0.62, Math.min(frame.width, frame.height) * random.between(0.2, 0.27))
  const y = frame.y + frame.height * random.between(0.68, 0.82)
  const x = frame.x + frame.width * random.between(0.4, 0.6)
  return {
    start: { x: frame.x - breadth, y },
    heading: 0,
    moves: [{ ahead: x - frame.x + breadth }, { turn: -180, radius }, { turn: -180, radius }, { ahead: frame.width + breadth }]
  }
}

/** In from the top, a bend to the side, and down again. */
function cascade(random: Random, frame: Rect, breadth: number): Route {
  const radius = breadth * random.between(0.64, 1)
  const side = random.pick([90, -90])
  const x = frame.x + frame.width * (side > 0 ? random.between(0.7, 0.85) : random.between(0.15, 0.3))
  const across = Math.max(0, frame.width * 0.6 - 2 * radius)
  const down = Math.max(0, frame.height * random.between(0.2, 0.42) - radius)
  return {
    start: { x, y: frame.y - breadth },
    heading: 90,
    moves: [{ ahead: down + breadth }, { turn: side, radius }, { ahead: across }, { turn: -side, radius }, { ahead: frame.height * 2 }]
  }
}
