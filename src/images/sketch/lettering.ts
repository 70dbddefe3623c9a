import type { Font } from './font.ts'

/** Lines of text that fit a box. */
export interface Lettering {
  lines: readonly string[]
  /** Font size in pixels. */
  size: number
  /** Distance of the baselines in pixels. */
  leading: number
  /** Of the longest line, in pixels. */
  width: number
}

export interface LetteringBox {
  width: number
  height: number
  /** Font sizes in pixels. */
  largest: number
  smallest: number
}

/**
 * The words of a prompt that the font can set. Symbols that it lacks are left out; a word with a letter or digit that it lacks is left
 * out whole, since the rest of it would be another word.
 */
export function legibleWords(prompt: string, font: Font): string[] {
  const words = prompt.slice(0, longestText).normalize('NFC').split(/\s+/u)
  return words.map((word) => legiblePart(word, font)).filter((word) => word !== '')
}

/**
 * Sets words as large as they fit, in lines of nearly equal length, and a little smaller where that spares a lonely short line. What
 * does not fit at the smallest size gives way to an ellipsis.
 */
export function fitLettering(texts: readonly string[], font: Font, box: LetteringBox): Lettering {
  const measured = (text: string) => ({ text, width: font.measure(text) })
  const words = texts.map(measured)
  const space = font.measure(' ')
  const set = (lines: readonly string[], size: number): Lettering => ({
    lines,
    size,
    leading: leadingAt(size, box),
    width: size * Math.max(0, ...lines.map(font.measure))
  })
  let largest: Lettering | undefined
  for (let size = box.largest; size > Math.max(box.smallest, (largest?.size ?? 0) * 0.68); size *= 0.96) {
    const loose = breakLines(words, space, box.width / size)
    if (loose === undefined || loose.length * leadingAt(size, box) > box.height) continue
    const lines = balancedLines(words, space, box.width / size, loose)
    if (!hasLonelyLine(lines, font)) return set(lines, size)
    largest ??= set(lines, size)
  }
  if (largest !== undefined) return largest
  const width = box.width / box.smallest
  const lines = breakLines(texts.flatMap((text) => chopped(text, font, width)).map(measured), space, width) ?? []
  const room = Math.max(1, Math.floor(box.height / leadingAt(box.smallest, box)))
  const kept = lines.slice(0, room)
  return set(lines.length > room ? [...kept.slice(0, -1), withEllipsis(kept.at(-1) ?? '', font, width)] : kept, box.smallest)
}

// More than fits any image at the smallest size.
const longestText = 4000

function legiblePart(word: string, font: Font): string {
  const characters = Array.from(word)
  const isCovered = (character: string) => !/\p{C}/u.test(character) && font.covers(character.codePointAt(0) ?? 0)
  const missing = characters.filter((character) => !isCovered(character))
  if (missing.some((character) => /[\p{L}\p{N}]/u.test(character))) return ''
  const rest = characters.filter(isCovered).join('')
  return missing.length === 0 || /[\p{L}\p{N}]/u.test(rest) ? rest : ''
}

/** Large type reads better when its lines stand closer together. */
function leadingAt(size: number, box: LetteringBox): number {
  return size * (1.26 - 0.2 * Math.min(1, (size - box.smallest) / Math.max(1, box.largest - box.smallest)))
}

interface Word {
  text: string
  /** At size 1. */
  width: number
}

/** Lines at most `width` wide at size 1; undefined where a single word is wider. */
function breakLines(words: readonly Word[], space: number, width: number): string[] | undefined {
  const lines: string[] = []
  let used = Number.POSITIVE_INFINITY
  for (const word of words) {
    if (word.width > width) return undefined
    if (used + space + word.width <= width) {
      lines.push(`${lines.pop() ?? ''} ${word.text}`)
      used += space + word.width
    } else {
      lines.push(word.text)
      used = word.width
    }
  }
  return lines
}

/** The narrowest setting that needs no more lines than `loose`. */
function balancedLines(words: readonly Word[], space: number, width: number, loose: readonly string[]): readonly string[] {
  let best = loose
  let [low, high] = [0, width]
  for (let step = 0; step < 12; step++) {
    const middle = (low + high) / 2
    const lines = breakLines(words, space, middle)
    if (lines !== undefined && lines.length <= loose.length) [best, high] = [lines, middle]
    else low = middle
  }
  return best
}

function hasLonelyLine(lines: readonly string[], font: Font): boolean {
  const widths = lines.map(font.measure)
  return Math.min(...widths) < 0.42 * Math.max(...widths)
}

/** A word in pieces that are at most `width` wide at size 1. */
function chopped(word: string, font: Font, width: number): string[] {
  if (font.measure(word) <= width) return [word]
  const pieces: string[] = []
  for (const character of word) {
    const longer = `${pieces.at(-1) ?? ''}${character}`
    if (pieces.length > 0 && font.measure(longer) <= width) pieces[pieces.length - 1] = longer
    else pieces.push(character)
  }
  return pieces
}

function withEllipsis(line: string, font: Font, width: number): string {
  let kept = Array.from(line)
  while (kept.length > 1 && font.measure(`${kept.join('')}…`) > width) {
    const space = kept.lastIndexOf(' ')
    kept = kept.slice(0, space > 0 ? space : -1)
  }
  return `${kept.join('').replace(/[\s,.;:–—-]+$/u, '')}…`
}
