import { type Canvas, createCanvas, escapeXml } from './canvas.ts'
import { mix, mostLegible } from './colour.ts'
import { type Font, fontFamily } from './font.ts'
import { type Layout, layOutFull, layOutPoster, layOutSticker } from './layout.ts'
import { legibleWords } from './lettering.ts'
import { inMood, type Mood, palettes } from './palette.ts'
import { createRandom } from './random.ts'
import { fronds } from './scenes/fronds.ts'
import { hills } from './scenes/hills.ts'
import { orbits } from './scenes/orbits.ts'
import { ribbons } from './scenes/ribbons.ts'
import type { Scene } from './scenes/scene.ts'
import { sea } from './scenes/sea.ts'
import { tiles } from './scenes/tiles.ts'
import { rectangle } from './shapes.ts'

export interface Composition {
  prompt: string
  seed: number
  /** Pixels. */
  width: number
  height: number
  mood: Mood
  /** Whether to draw a sticker with nothing around it instead of a poster. */
  transparent: boolean
  /** How much of it to draw, from 0 to 1, the ground first and the letters last. Unset: all of it. */
  share?: number
}

/** Draws a poster for a prompt as SVG. The same composition always gives the same text, and sizes of one ratio the same picture. */
export function composeSketch(composition: Composition, fonts: { title: Font; caption: Font }): string {
  const { prompt, seed, width, height, mood, transparent, share = 1 } = composition
  const random = createRandom(`${seed}\n${prompt}`)
  const palette = inMood(random.pick(palettes), mood)
  const scene = random.pick(scenes)
  const isFull = scene.carriesLetters && random.chance(0.6)
  const paper = random.pick([palette.paper, palette.paper, palette.ink, ...palette.colours.slice(0, 2)])
  const sheet = { width, height, words: legibleWords(prompt, fonts.title), font: fonts.title }
  const layout = transparent
    ? layOutSticker(sheet, random.fork('layout'))
    : isFull
      ? layOutFull(sheet)
      : layOutPoster(sheet, random.fork('layout'))
  const canvas = createCanvas(width, height)
  const everything = { x: -1, y: -1, width: width + 2, height: height + 2 }
  const stage = { canvas, frame: layout.frame, calmFrom: layout.calmFrom, palette, around: transparent || isFull ? undefined : paper }
  const unit = Math.sqrt(layout.frame.width * layout.frame.height)
  const drawScene = () => scene.draw({ ...stage, random: random.fork('scene'), unit })
  // What is not drawn yet is empty paper.
  if (share < 1 && !transparent) canvas.add('path', { d: rectangle(everything), fill: paper })
  if (transparent) drawSticker(canvas, layout, palette.paper)
  const foreground = transparent ? canvas.within(layout.outline, drawScene) : drawScene()
  // Paper with a hole lies over the scene: clipping it would take several times as long.
  if (!transparent && !isFull) canvas.add('path', { d: rectangle(everything) + layout.outline, fill: paper, 'fill-rule': 'evenodd' })
  const ground = transparent ? palette.paper : isFull ? foreground : paper
  const colour = mostLegible(ground, [palette.paper, palette.ink])
  drawTitle(canvas, layout, fonts.title, colour)
  drawCaption(canvas, layout, fonts.caption, seed, mix(colour, ground, 0.25))
  return canvas.toSvg(share)
}

const scenes: readonly Scene[] = [hills, sea, tiles, ribbons, orbits, fronds]

/** A rim around the scene and a plate under the letters, so that both can be seen on any ground. */
function drawSticker(canvas: Canvas, { outline, letters, margin }: Layout, paper: string) {
  const pad = margin * 0.5
  const plate = { x: letters.x - pad, y: letters.y - pad, width: letters.width + 2 * pad, height: letters.height + 2 * pad }
  canvas.add('path', { d: rectangle(plate, margin * 0.6), fill: paper })
  canvas.add('path', { d: outline, fill: paper, stroke: paper, 'stroke-width': margin * 0.5, 'stroke-linejoin': 'round' })
}

function drawTitle(canvas: Canvas, { letters, title: { lines, size, leading } }: Layout, font: Font, colour: string) {
  // Capitals of this font are 0.7 of its size high: those of the first line touch the top. Its letters begin a little right of their origin.
  lines.forEach((line, index) => {
    drawText(canvas, line, { x: letters.x - size * 0.045, y: letters.y + size * 0.71 + index * leading }, font, size, colour)
  })
}

function drawCaption(canvas: Canvas, { letters, captionSize: size }: Layout, font: Font, seed: number, colour: string) {
  const y = letters.y + letters.height - size * 0.2
  const honest = 'sketch · not an AI image'
  const origin = `seed ${seed}`
  drawText(canvas, honest, { x: letters.x, y }, font, size, colour)
  const x = letters.x + letters.width - font.measure(origin) * size
  if (x > letters.x + (font.measure(honest) + 1.5) * size) drawText(canvas, origin, { x, y }, font, size, colour)
}

function drawText(canvas: Canvas, text: string, at: { x: number; y: number }, font: Font, size: number, colour: string) {
  const face = { 'font-family': fontFamily, 'font-weight': font.weight, 'font-size': size }
  canvas.add('text', { ...at, ...face, fill: colour }, escapeXml(text))
}
