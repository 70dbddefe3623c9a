import { along, mix } from '../colour.ts'
import { circle, polyline, rectangle, smoothLine, waves } from '../shapes.ts'
import type { Scene, Stage } from './scene.ts'

/** A low sun over rows of waves, with its light on the water and a sail or two. */
export const sea: Scene = {
  carriesLetters: true,
  draw: (stage) => {
    const { canvas, frame, palette, random, unit } = stage
    const [light = palette.paper, warm = light, middle = warm, cool = middle, deep = cool] = palette.colours
    const horizon = frame.y + frame.height * random.between(0.42, 0.5)
    const sky = random.pick([
      [mix(middle, palette.paper, 0.1), warm, mix(light, palette.paper, 0.35)],
      [mix(cool, palette.paper, 0.55), mix(light, palette.paper, 0.5), mix(warm, palette.paper, 0.3)],
      [mix(light, palette.paper, 0.6), mix(light, palette.paper, 0.2), warm]
    ])
    canvas.add('path', { d: rectangle({ ...frame, height: horizon - frame.y + 1 }), fill: canvas.gradient(sky) })
    const sun = { x: frame.x + frame.width * random.pick([0.3, 0.5, 0.66]), radius: unit * random.between(0.13, 0.18) }
    const sunColour = mix(palette.paper, light, random.pick([0.1, 0.6]))
    const sunHeight = horizon - sun.radius * random.between(0.1, 0.55)
    drawClouds(stage, horizon)
    canvas.add('path', { d: circle(sun.x, sunHeight, sun.radius * 1.3), fill: sunColour, 'fill-opacity': 0.2 })
    canvas.add('path', { d: circle(sun.x, sunHeight, sun.radius), fill: sunColour })
    const bottom = Math.min(stage.calmFrom - unit * 0.02, frame.y + frame.height * 0.92)
    const ground = mix(deep, palette.ink, 0.5)
    const ramp = [mix(middle, cool, 0.5), cool, mix(cool, deep, 0.6), deep, ground]
    const rows = random.whole(7, 9)
    const sailRow = random.whole(1, 2)
    canvas.add('path', { d: rectangle({ ...frame, y: horizon, height: frame.y + frame.height - horizon + unit }), fill: along(ramp, 0) })
    drawGlitter(stage, sun, horizon, bottom, sunColour)
    for (let row = 1; row < rows; row++) {
      const depth = row / (rows - 1)
      if (row === sailRow) drawSail(stage, sun.x > frame.x + frame.width / 2 ? 0.24 : 0.74, horizon + (bottom - horizon) * depth ** 1.3)
      drawWave(stage, horizon + (bottom - horizon) * depth ** 1.3, depth, along(ramp, depth))
    }
    return ground
  }
}

function drawClouds({ canvas, frame, palette, random, unit }: Stage, horizon: number) {
  for (let index = 0; index < 5; index++) {
    const width = unit * random.between(0.14, 0.4)
    const height = unit * random.between(0.008, 0.016)
    const x = frame.x + random.between(-0.1, 0.9) * frame.width
    const y = frame.y + (horizon - frame.y) * random.between(0.12, 0.82)
    canvas.add('path', { d: rectangle({ x, y, width, height }, height), fill: palette.paper, 'fill-opacity': random.between(0.3, 0.6) })
    const shift = { x: x + width * random.between(0.2, 0.5), y: y + height * 1.9, width: width * 0.7, height }
    canvas.add('path', { d: rectangle(shift, height), fill: palette.paper, 'fill-opacity': 0.35 })
  }
}

/** The light's path: bars that grow wider and rarer towards the viewer. */
function drawGlitter({ canvas, random, unit }: Stage, sun: { x: number; radius: number }, horizon: number, bottom: number, colour: string) {
  const bars = Array.from({ length: 11 }, (_, index) => {
    const place = (index + 0.6) / 11
    const width = sun.radius * (1.75 - place) * random.between(0.55, 1)
    const height = unit * (0.004 + 0.007 * place)
    const x = sun.x - width / 2 + sun.radius * random.between(-0.22, 0.22)
    return rectangle({ x, y: horizon + (bottom - horizon) * 0.55 * place ** 1.2, width, height }, height)
  })
  canvas.add('path', { d: bars.join(''), fill: colour, 'fill-opacity': 0.85 })
}

function drawWave({ canvas, frame, palette, random, unit }: Stage, height: number, depth: number, colour: string) {
  const wave = waves(random, 0.8, 1.5)
  const swing = unit * (0.006 + 0.022 * depth)
  const count = Math.max(10, Math.round((frame.width / unit) * 18))
  const points = Array.from({ length: count + 3 }, (_, index) => {
    const place = (index - 1) / count
    return { x: frame.x + place * frame.width, y: height + swing * wave(place * Math.max(1, frame.width / frame.height) * 1.3) }
  })
  const edge = smoothLine(points)
  canvas.add('path', { d: `${edge}V${Math.ceil(frame.y + frame.height + unit)}H${Math.floor(frame.x - unit)}z`, fill: colour })
  const crest = { fill: 'none', stroke: palette.paper, 'stroke-linecap': 'round', 'stroke-width': unit * (0.0018 + 0.002 * depth) }
  const dash = `${unit * random.between(0.06, 0.16)} ${unit * random.between(0.05, 0.12)}`
  canvas.add('path', { ...crest, d: edge, 'stroke-opacity': 0.4, 'stroke-dasharray': dash })
}

function drawSail({ canvas, frame, palette, unit }: Stage, place: number, water: number) {
  const x = frame.x + frame.width * place
  const height = unit * 0.12
  const y = water + unit * 0.004
  canvas.add('path', {
    d: `${polyline([
      { x: x - height * 0.06, y: y - height * 0.2 },
      { x: x - height * 0.06, y: y - height },
      { x: x - height * 0.52, y: y - height * 0.2 }
    ])}z`,
    fill: palette.paper
  })
  canvas.add('path', {
    d: `${polyline([
      { x: x + height * 0.02, y: y - height * 0.2 },
      { x: x + height * 0.02, y: y - height * 0.9 },
      { x: x + height * 0.4, y: y - height * 0.2 }
    ])}z`,
    fill: palette.colours[0]
  })
  canvas.add('path', {
    d: `M${x - height * 0.5} ${y - height * 0.14}H${x + height * 0.46}L${x + height * 0.3} ${y + height * 0.06}H${x - height * 0.34}z`,
    fill: palette.ink
  })
}
