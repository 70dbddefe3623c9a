import { createTextFinder } from './text-finder.ts'
import { patternWordsOf, wordsOf } from './words.ts'

/** What is wrong with a pattern, as the end of a sentence; undefined where nothing is. */
export function patternProblem(pattern: string): string | undefined {
  return patternWordsOf(pattern).length === 0 ? 'must hold a letter, a digit or a symbol besides "*"' : undefined
}

/**
 * Tells whether a text holds one of the patterns: the words of a pattern, one after the other. In linear time, whatever the text and the
 * patterns are. Patterns with a `patternProblem` fit nothing.
 */
export function createBlockedPatterns(patterns: readonly string[]): (text: string) => boolean {
  const { exact, wild, anyWord } = readPatterns(patterns)
  const finder = createTextFinder([...wild.values()].map((word) => [rarestPart(word.parts), word]))

  return (text) => {
    const known = new Map<string, readonly Place[]>()
    /** Places of patterns that fit as far as the word before. */
    let reached = new Set<number>()
    for (const word of wordsOf(text)) {
      const places = known.get(word) ?? placesOf(word)
      known.set(word, places)
      const reachedNow = new Set<number>()
      for (const { id, isFirst, isLast } of places) {
        if (!isFirst && !reached.has(id - 1)) continue
        if (isLast) return true
        reachedNow.add(id)
      }
      reached = reachedNow
    }
    return false
  }

  function placesOf(word: string): readonly Place[] {
    const candidates = new Set(finder.find(`${border}${word}${border}`))
    const fitting = [...candidates].filter(({ parts }) => fits(parts, word)).flatMap(({ places }) => places)
    return [...(exact.get(word) ?? []), ...fitting, ...anyWord]
  }
}

/** A word of a pattern. The ids of a pattern's words follow one another. */
interface Place {
  id: number
  isFirst: boolean
  isLast: boolean
}

/** A word with "*" in it. */
interface WildWord {
  /** What stands between the "*"; empty at the beginning or the end where one of them stands there. */
  parts: readonly string[]
  places: Place[]
}

function readPatterns(patterns: readonly string[]) {
  const exact = new Map<string, Place[]>()
  const wild = new Map<string, WildWord>()
  const anyWord: Place[] = []
  let id = 0
  for (const pattern of patterns) {
    const words = patternWordsOf(pattern)
    for (const [index, word] of words.entries()) {
      placesFor(word).push({ id: id++, isFirst: index === 0, isLast: index === words.length - 1 })
    }
  }
  return { exact, wild, anyWord }

  function placesFor(word: string): Place[] {
    if (word === '*') return anyWord
    if (!word.includes('*')) {
      const places = exact.get(word) ?? []
      exact.set(word, places)
      return places
    }
    const entry = wild.get(word) ?? { parts: word.split('*'), places: [] }
    wild.set(word, entry)
    return entry.places
  }
}

/** No word holds a blank. */
const border = ' '

/** The longest part, with the border that it must touch: few words hold it that do not fit. */
function rarestPart(parts: readonly string[]): string {
  const bordered = parts.map((part, index) => {
    if (part === '') return ''
    return `${index === 0 ? border : ''}${part}${index === parts.length - 1 ? border : ''}`
  })
  return bordered.reduce((longest, part) => (part.length > longest.length ? part : longest))
}

/** Whether the word is the parts with anything between them; taking each part where it comes first leaves most for those after it. */
function fits(parts: readonly string[], word: string): boolean {
  const [first = '', ...others] = parts
  const last = others.pop() ?? ''
  const end = word.length - last.length
  if (first.length > end || !word.startsWith(first) || !word.endsWith(last)) return false
  let at = first.length
  for (const part of others) {
    const found = word.indexOf(part, at)
    if (found === -1 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}
