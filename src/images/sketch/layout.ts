import type { Rect } from './canvas.ts'
import type { Font } from './font.ts'
import { fitLettering, type Lettering } from './lettering.ts'
import type { Random } from './random.ts'
import { arch, circle, rectangle } from './shapes.ts'

/** Where everything goes on one image, in pixels. */
export interface Layout {
  /** What the scene fills, and the outline (path data) to which it is cut. */
  frame: Rect
  outline: string
  /** From which height on letters stand on the scene; the bottom of the frame where none do. */
  calmFrom: number
  /** Where the letters stand: the title from the top, the caption at the bottom. */
  letters: Rect
  title: Lettering
  /** Font size of the caption. */
  captionSize: number
  /** Square root of the image's area: the length by which margins and letters are measured. */
  unit: number
  margin: number
}

export interface Sheet {
  width: number
  height: number
  /** What is to be read on it; none where the font can set nothing. */
  words: readonly string[]
  font: Font
}

/** The scene covers everything, and the letters stand on its calm foreground. */
export function layOutFull(sheet: Sheet): Layout {
  const measures = measure(sheet)
  const { letters, title } = lettersBelow(sheet, measures)
  const frame = { x: 0, y: 0, width: sheet.width, height: sheet.height }
  return { ...measures, frame, outline: rectangle(frame), calmFrom: letters.y - measures.margin * 0.45, letters, title }
}

/** The scene in a panel, the letters beside it (wide images) or below it. */
export function layOutPoster(sheet: Sheet, random: Random): Layout {
  const measures = measure(sheet)
  const isMirrored = random.chance(0.4)
  const isBleeding = random.chance(0.4)
  const shape = random.pick(['rectangle', 'rectangle', 'rounded', 'arch', 'circle'])
  const panel = layOutPanel(sheet, measures, isBleeding ? 0 : measures.margin, isMirrored)
  return {
    ...measures,
    ...panel,
    outline: isBleeding ? rectangle(panel.frame) : cut(panel.frame, shape, measures.margin),
    calmFrom: floor(panel.frame)
  }
}

/** The scene in a disc or a badge with room for a rim, and the letters beside or below it with room for a plate. */
export function layOutSticker(sheet: Sheet, random: Random): Layout {
  const measures = measure(sheet)
  const { frame, letters, title } = layOutPanel(sheet, measures, measures.margin, random.chance(0.4))
  const edge = Math.min(frame.width, frame.height)
  const isLong = Math.max(frame.width, frame.height) > edge * 1.5
  const disc = { x: frame.x + (frame.width - edge) / 2, y: frame.y + (frame.height - edge) / 2, width: edge, height: edge }
  const badge = isLong ? frame : disc
  return { ...measures, frame: badge, outline: rectangle(badge, isLong ? edge * 0.26 : edge / 2), calmFrom: floor(frame), letters, title }
}

type Measures = Pick<Layout, 'unit' | 'margin' | 'captionSize'>

function measure({ width, height }: Sheet): Measures {
  const unit = Math.sqrt(width * height)
  const shortest = Math.min(width, height)
  const margin = Math.min(unit * 0.062, shortest * 0.08)
  // Below nine pixels letters can hardly be read; the caption is about eleven times as long as it is high.
  return { unit, margin, captionSize: Math.min(Math.max(unit * 0.0165, 9), (shortest - 2 * margin) / 12) }
}

function layOutPanel(sheet: Sheet, measures: Measures, border: number, isMirrored: boolean): Pick<Layout, 'frame' | 'letters' | 'title'> {
  const { margin } = measures
  const below = lettersBelow(sheet, measures)
  const beside = lettersBeside(sheet, measures)
  // One long word may fit nowhere but below.
  if (sheet.words.length > 0 && sheet.width > sheet.height * 1.2 && beside.title.size > below.title.size * 0.6) {
    const { letters, title } = beside
    const frame = { x: border, y: border, width: sheet.width - border - letters.width - 2 * margin, height: sheet.height - 2 * border }
    if (isMirrored) return { frame: { ...frame, x: letters.width + 2 * margin }, letters: { ...letters, x: margin }, title }
    return { frame, letters, title }
  }
  const frame = { x: border, y: border, width: sheet.width - 2 * border, height: below.letters.y - border - 0.9 * margin }
  return { frame, ...below }
}

function lettersBelow(sheet: Sheet, { unit, margin, captionSize }: Measures): Pick<Layout, 'letters' | 'title'> {
  const width = sheet.width - 2 * margin
  const room = (sheet.height - 2 * margin) * shareOfLetters(sheet.words, 0.85)
  const title = fitLettering(sheet.words, sheet.font, box(width, room - captionSize * 2.4, unit))
  const height = titleHeight(title) + captionSize * (title.lines.length === 0 ? 1 : 2.4)
  return { letters: { x: margin, y: sheet.height - margin - height, width, height }, title }
}

function lettersBeside(sheet: Sheet, { unit, margin, captionSize }: Measures): Pick<Layout, 'letters' | 'title'> {
  const height = sheet.height - 2 * margin
  const room = Math.max(sheet.width * shareOfLetters(sheet.words, 1.1), captionSize * 11)
  const title = fitLettering(sheet.words, sheet.font, box(room, height - captionSize * 2.4, unit))
  const width = Math.max(title.width, captionSize * 17, sheet.width * 0.16)
  return { letters: { x: sheet.width - margin - width, y: margin, width, height }, title }
}

/** How much of the image's height or width the letters get at most. */
function shareOfLetters(words: readonly string[], factor: number): number {
  const length = words.join(' ').length
  return (length <= 14 ? 0.3 : length <= 40 ? 0.36 : length <= 120 ? 0.42 : 0.5) * factor
}

function box(width: number, height: number, unit: number) {
  const smallest = Math.min(Math.max(unit * 0.021, 10), height / 3)
  return { width: width * 0.985, height, largest: Math.max(smallest, unit * 0.13), smallest }
}

/** From the top of the first line's capitals to below the last line. */
function titleHeight({ lines, size, leading }: Lettering): number {
  return lines.length === 0 ? 0 : size * 0.72 + (lines.length - 1) * leading + size * 0.3
}

function cut(frame: Rect, shape: string, margin: number): string {
  const isSquarish = Math.abs(Math.log(frame.width / frame.height)) < 0.35
  if (shape === 'arch' && frame.height > frame.width * 0.75) return arch(frame)
  if (shape === 'circle' && isSquarish)
    return circle(frame.x + frame.width / 2, frame.y + frame.height / 2, Math.min(frame.width, frame.height) / 2)
  return rectangle(frame, shape === 'rounded' ? margin * 0.8 : 0)
}

function floor(frame: Rect): number {
  return frame.y + frame.height
}
