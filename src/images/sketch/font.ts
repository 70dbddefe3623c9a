import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

/** What can be known about a TrueType font without drawing it. */
export interface Font {
  /** Where its file lies. */
  readonly file: string
  /** Weight by which SVG asks for it. */
  readonly weight: number
  /** Whether it has a glyph for a character (code point). */
  covers(codePoint: number): boolean
  /** Width of a text at size 1, without kerning, which makes real text a little narrower. */
  measure(text: string): number
}

export const fontFamily = 'Jost'

/** Reads the two faces that come with this package (Jost*, SIL Open Font License 1.1; Latin and Cyrillic). */
export function loadFonts(): { title: Font; caption: Font } {
  const { resolve } = createRequire(import.meta.url)
  return {
    title: readFont(resolve('@expo-google-fonts/jost/600SemiBold/Jost_600SemiBold.ttf'), 600),
    caption: readFont(resolve('@expo-google-fonts/jost/400Regular/Jost_400Regular.ttf'), 400)
  }
}

/** Reads the character map and the advance widths of a TrueType file. Throws where the file has no Unicode map of format 4. */
export function readFont(file: string, weight: number): Font {
  const bytes = readFileSync(file)
  const tables = readTables(bytes)
  const glyphs = readCharacterMap(bytes.subarray(tables('cmap')))
  const unitsPerEm = bytes.readUInt16BE(tables('head') + 18)
  const metricCount = bytes.readUInt16BE(tables('hhea') + 34)
  const metrics = tables('hmtx')
  const advance = (codePoint: number) =>
    bytes.readUInt16BE(metrics + 4 * Math.min(glyphs.get(codePoint) ?? 0, metricCount - 1)) / unitsPerEm
  return {
    file,
    weight,
    covers: (codePoint) => (glyphs.get(codePoint) ?? 0) !== 0,
    measure: (text) => Array.from(text).reduce((sum, character) => sum + advance(character.codePointAt(0) ?? 0), 0)
  }
}

function readTables(bytes: Buffer): (name: string) => number {
  const offsets = new Map<string, number>()
  for (let record = 12; record < 12 + 16 * bytes.readUInt16BE(4); record += 16) {
    offsets.set(bytes.toString('latin1', record, record + 4), bytes.readUInt32BE(record + 8))
  }
  return (name) => {
    const offset = offsets.get(name)
    if (offset === undefined) throw new Error(`the font has no table ${name}`)
    return offset
  }
}

/** Glyphs by character. OpenType specification, "cmap", format 4: parallel arrays of segments with an end, a start, a delta, a range offset. */
function readCharacterMap(table: Buffer): ReadonlyMap<number, number> {
  const records = Array.from({ length: table.readUInt16BE(2) }, (_, index) => 4 + 8 * index)
  const offset = records.map((record) => table.readUInt32BE(record + 4)).find((start) => table.readUInt16BE(start) === 4)
  if (offset === undefined) throw new Error('the font has no character map of format 4')
  const doubledCount = table.readUInt16BE(offset + 6)
  const ends = offset + 14
  const starts = ends + doubledCount + 2
  const glyphs = new Map<number, number>()
  for (let segment = 0; segment < doubledCount; segment += 2) {
    const start = table.readUInt16BE(starts + segment)
    const delta = table.readUInt16BE(starts + doubledCount + segment)
    const rangeAt = starts + 2 * doubledCount + segment
    const range = table.readUInt16BE(rangeAt)
    // The last segment is a sentinel for U+FFFF, whose range offset need not point into the table.
    for (let codePoint = start; codePoint <= table.readUInt16BE(ends + segment) && codePoint < 0xffff; codePoint++) {
      const listed = range === 0 ? codePoint : table.readUInt16BE(rangeAt + range + 2 * (codePoint - start))
      if (listed !== 0) glyphs.set(codePoint, (listed + delta) & 0xffff)
    }
  }
  return glyphs
}
