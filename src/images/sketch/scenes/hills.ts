import type { Rect } from '../canvas.ts'
import { along, mix } from '../colour.ts'
import type { Random } from '../random.ts'
import { circle, polyline, rectangle, smoothLine, stipple, waves } from '../shapes.ts'
import type { Scene, Stage } from './scene.ts'

/** A sun over ridges that grow darker as they come closer, cut as if from paper. */
export const hills: Scene = {
  carriesLetters: true,
  draw: (stage) => {
    const { canvas, frame, palette, random, unit } = stage
    const [light = palette.paper, warm = light] = palette.colours
    const sky = random.pick([
      [mix(light, palette.paper, 0.2), mix(warm, palette.paper, 0.25), mix(light, palette.paper, 0.65)],
      [mix(palette.colours[3] ?? light, palette.paper, 0.35), mix(light, palette.paper, 0.3), mix(warm, palette.paper, 0.4)],
      [mix(palette.ink, palette.colours[4] ?? light, 0.6), palette.colours[3] ?? light, warm, light]
    ])
    const isNight = sky.length === 4
    canvas.add('path', { d: rectangle(frame), fill: canvas.gradient(sky) })
    if (isNight) drawStars(stage)
    drawSun(stage, isNight ? palette.paper : random.pick([mix(light, palette.paper, 0.55), warm, palette.paper]))
    const far = mix(sky.at(-1) ?? light, palette.colours[2] ?? light, 0.35)
    const ramp = [
      far,
      palette.colours[2] ?? far,
      palette.colours[3] ?? far,
      palette.colours[4] ?? far,
      mix(palette.colours[4] ?? far, palette.ink, 0.62)
    ]
    const count = random.whole(5, 6)
    const isJagged = random.chance(0.4)
    const top = frame.y + frame.height * random.between(0.4, 0.5)
    const bottom = Math.min(stage.calmFrom - unit * 0.03, frame.y + frame.height * 0.9)
    for (let index = 0; index < count; index++) {
      const depth = index / (count - 1)
      const height = top + (bottom - top) * depth ** 1.15
      const colour = along(ramp, depth)
      const line = isJagged && index < 2 ? peaks(random, frame, height, unit) : ridge(random, frame, height, unit * (0.075 - 0.035 * depth))
      drawLayer(stage, line, colour, depth === 1 ? colour : mix(colour, far, 0.34 - 0.2 * depth))
      if (index === count - 2) drawTrees(stage, line, along(ramp, depth + 0.16))
    }
    return along(ramp, 1)
  }
}

interface Line {
  path: string
  height(x: number): number
}

function ridge(random: Random, frame: Rect, height: number, swing: number): Line {
  const wave = waves(random, 0.5, 1.1)
  const stretch = Math.min(1.6, Math.max(0.7, frame.width / frame.height)) / frame.width
  const heightAt = (x: number) => height + swing * wave((x - frame.x) * stretch)
  const count = Math.ceil(24 * stretch * frame.width)
  const points = Array.from({ length: count + 3 }, (_, index) => {
    const x = frame.x + ((index - 1) / count) * frame.width
    return { x, y: heightAt(x) }
  })
  return { path: smoothLine(points), height: heightAt }
}

/** A mountain chain: straight slopes between random summits and saddles. */
function peaks(random: Random, frame: Rect, height: number, unit: number): Line {
  const step = unit * random.between(0.13, 0.19)
  const knots = Array.from({ length: Math.ceil(frame.width / step) + 3 }, (_, index) => ({
    x: frame.x + (index - 1) * step,
    y: height + unit * (index % 2 === 0 ? random.between(0.02, 0.06) : -random.between(0.03, 0.17))
  }))
  const heightAt = (x: number) => {
    const place = Math.max(0, (x - frame.x) / step + 1)
    const [from, to] = [knots[Math.floor(place)]?.y ?? height, knots[Math.floor(place) + 1]?.y ?? height]
    return from + (to - from) * (place % 1)
  }
  return { path: polyline(knots), height: heightAt }
}

function drawLayer({ canvas, frame, palette, random, unit }: Stage, line: Line, colour: string, mist: string) {
  const isFront = colour === mist
  // A shadow without a blur, which would cost most of the time at 4K: the edge itself in ever thinner translucent strokes.
  for (const [width, opacity] of [
    [0.03, 0.04],
    [0.018, 0.045],
    [0.007, 0.06]
  ] as const) {
    canvas.add('path', { d: line.path, fill: 'none', stroke: palette.ink, 'stroke-opacity': opacity, 'stroke-width': unit * width })
  }
  const floor = frame.y + frame.height + unit
  canvas.add('path', { d: `${line.path}V${Math.ceil(floor)}H${Math.floor(frame.x - unit)}z`, fill: canvas.gradient([colour, mist]) })
  const dots = stipple(
    random,
    line.height,
    { from: frame.x, to: frame.x + frame.width, depth: unit * (isFront ? 0.05 : 0.11) },
    220,
    unit * 0.0021
  )
  canvas.add('path', { d: dots, fill: palette.paper, 'fill-opacity': 0.34 })
}

function drawSun({ canvas, frame, random, unit }: Stage, colour: string) {
  const x = frame.x + frame.width * random.pick([0.28, 0.5, 0.68, 0.74])
  const y = frame.y + frame.height * random.between(0.24, 0.38)
  const radius = unit * random.between(0.085, 0.13)
  for (const [ring, opacity] of [
    [2.3, 0.1],
    [1.75, 0.13],
    [1.35, 0.18]
  ] as const) {
    canvas.add('path', { d: circle(x, y, radius * ring), fill: colour, 'fill-opacity': opacity })
  }
  canvas.add('path', { d: circle(x, y, radius), fill: colour })
  const side = x > frame.x + frame.width / 2 ? -1 : 1
  for (let index = 0; index < 3; index++) {
    const wing = unit * random.between(0.012, 0.02)
    const birdX = x + side * unit * random.between(0.16, 0.34)
    const birdY = y + unit * random.between(-0.07, 0.05)
    const d = `M${birdX - wing} ${birdY - wing * 0.35}q${wing * 0.6} ${-wing * 0.35} ${wing} ${wing * 0.45}q${wing * 0.4} ${-wing * 0.8} ${wing} ${-wing * 0.45}`
    canvas.add('path', { d, fill: 'none', stroke: colour, 'stroke-width': unit * 0.004, 'stroke-linecap': 'round' })
  }
}

function drawStars({ canvas, frame, palette, random, unit }: Stage) {
  const stars = Array.from({ length: 70 }, () =>
    circle(
      frame.x + random.next() * frame.width,
      frame.y + random.next() ** 1.6 * frame.height * 0.5,
      unit * random.between(0.0008, 0.0024)
    )
  )
  canvas.add('path', { d: stars.join(''), fill: palette.paper, 'fill-opacity': 0.85 })
}

function drawTrees({ canvas, frame, random, unit }: Stage, line: Line, colour: string) {
  const clusters = Math.max(2, Math.round((frame.width / unit) * 3))
  const trees: string[] = []
  for (let cluster = 0; cluster < clusters; cluster++) {
    const centre = frame.x + frame.width * random.next()
    for (let index = random.whole(2, 5); index > 0; index--) {
      const x = centre + unit * random.between(-0.06, 0.06)
      const height = unit * random.between(0.035, 0.085)
      const base = line.height(x) + unit * 0.008
      const half = height * 0.2
      const tiers = [0, 0.26, 0.5].map((up, tier) => {
        const spread = half * (1 - tier * 0.24)
        return polyline([
          { x: x - spread, y: base - height * (0.1 + up) },
          { x, y: base - height * Math.min(1, up + 0.56) },
          { x: x + spread, y: base - height * (0.1 + up) }
        ])
      })
      trees.push(
        ...tiers.map((tier) => `${tier}z`),
        rectangle({ x: x - half * 0.12, y: base - height * 0.12, width: half * 0.24, height: height * 0.14 })
      )
    }
  }
  canvas.add('path', { d: trees.join(''), fill: colour })
}
