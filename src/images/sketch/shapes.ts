import { type Point, px, type Rect } from './canvas.ts'
import type { Random } from './random.ts'

/** A smooth line through all points, as path data that begins with `M`. */
export function smoothLine(points: readonly Point[]): string {
  const [first, ...rest] = points
  if (first === undefined) return ''
  const curves = rest.map((point, index) => {
    const from = points[index] ?? first
    const before = points[index - 1] ?? from
    const after = points[index + 2] ?? point
    const one = `${px(from.x + (point.x - before.x) / 6)} ${px(from.y + (point.y - before.y) / 6)}`
    const two = `${px(point.x - (after.x - from.x) / 6)} ${px(point.y - (after.y - from.y) / 6)}`
    return `C${one} ${two} ${px(point.x)} ${px(point.y)}`
  })
  return `M${px(first.x)} ${px(first.y)}${curves.join('')}`
}

export function polyline(points: readonly Point[]): string {
  return `M${points.map((point) => `${px(point.x)} ${px(point.y)}`).join('L')}`
}

export function circle(x: number, y: number, radius: number): string {
  const r = px(radius)
  return `M${px(x - radius)} ${px(y)}a${r} ${r} 0 1 0 ${px(2 * radius)} 0a${r} ${r} 0 1 0 ${px(-2 * radius)} 0z`
}

export function rectangle({ x, y, width, height }: Rect, radius = 0): string {
  const r = px(Math.min(radius, width / 2, height / 2))
  if (r <= 0) return `M${px(x)} ${px(y)}h${px(width)}v${px(height)}h${px(-width)}z`
  const [w, h] = [px(width - 2 * r), px(height - 2 * r)]
  const corner = (dx: number, dy: number) => `a${r} ${r} 0 0 1 ${px(dx)} ${px(dy)}`
  return `M${px(x + r)} ${px(y)}h${w}${corner(r, r)}v${h}${corner(-r, r)}h${-w}${corner(-r, -r)}v${-h}${corner(r, -r)}z`
}

/** A rectangle whose top is a half circle, or nearly the whole of it where the rectangle is wide. */
export function arch({ x, y, width, height }: Rect): string {
  const r = Math.min(width / 2, height)
  const flat = width - 2 * r
  const bow = (dx: number, dy: number) => `a${px(r)} ${px(r)} 0 0 1 ${px(dx)} ${px(dy)}`
  return `M${px(x)} ${px(y + height)}V${px(y + r)}${bow(r, -r)}h${px(flat)}${bow(r, r)}V${px(y + height)}z`
}

/** A wavy height for each place from 0 to 1: a few waves on top of each other, between -1 and 1. */
export function waves(random: Random, lowest: number, highest: number): (place: number) => number {
  const parts = [1, 0.5, 0.28].map((weight, index) => ({
    weight,
    frequency: random.between(lowest, highest) * (index * 1.35 + 1),
    phase: random.between(0, 2 * Math.PI)
  }))
  const total = parts.reduce((sum, part) => sum + part.weight, 0)
  return (place) => parts.reduce((sum, part) => sum + part.weight * Math.sin(part.frequency * place * 2 * Math.PI + part.phase), 0) / total
}

/** Path data of many small dots below a line, dense at the line and thinning out downwards: shading as risograph prints have it. */
export function stipple(
  random: Random,
  line: (x: number) => number,
  area: { from: number; to: number; depth: number },
  count: number,
  size: number
) {
  const dots = Array.from({ length: count }, () => {
    const x = random.between(area.from, area.to)
    const fall = random.next() ** 2.4
    return circle(x, line(x) + size + fall * area.depth, size * random.between(0.45, 1))
  })
  return dots.join('')
}
