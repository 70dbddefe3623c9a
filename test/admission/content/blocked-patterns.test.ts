import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createBlockedPatterns, patternProblem } from '../../../src/admission/content/blocked-patterns.ts'

test.each([
  ['bomb', 'a bomb in a park'],
  ['bomb', 'BOMB'],
  ['Bomb', 'bomb!'],
  ['bomb', '"bomb"'],
  ['bomb', 'snow-bomb'],
  ['bomb', 'snow_bomb.png'],
  ['bomb', 'ｂｏｍｂ in full width'],
  ['bomb', 'a 𝐛𝐨𝐦𝐛 in bold'],
  ['bomb', 'b\u200bo\u00adm\u2060b with what nobody sees'],
  ['straße', 'eine STRASSE'],
  ['STRASSE', 'eine straẞe'],
  ['σίσυφος', 'ΣΊΣΥΦΟΣ'],
  ['café', 'cafe\u0301'],
  ['new york', 'in New   York'],
  ['new york', 'new-york, at night'],
  ['new york', 'new\nyork'],
  ['new new york', 'new new new york'],
  ['bomb*', 'two bombs'],
  ['bomb*', 'a bomb'],
  ['*bomb', 'a snowbomb'],
  ['*bomb*', 'two snowbombs'],
  ['b*b', 'a bomb'],
  ['b*b', 'a bib'],
  ['b*m*s', 'two bombs'],
  ['a*a*b', 'aaab'],
  ['make * bomb', 'make a bomb'],
  ['make * bomb', 'make-one-bomb'],
  ['* bomb *', 'bomb'],
  ['炸弹', '我要炸弹图'],
  ['爆弾', 'これは爆弾です'],
  ['ระเบิด', 'ภาพระเบิดสวย'],
  ['🔫', 'a cat with a 🔫🏽'],
  ['c++', 'learn c++ now'],
  ['$$$', 'much $$$!'],
  ['42', 'room 42']
])('the pattern %j blocks %j', (pattern, text) => {
  expect(createBlockedPatterns(['another one', pattern])(text)).toBe(true)
})

test.each([
  ['bomb', 'bombs'],
  ['bomb', 'snowbomb'],
  ['bomb', ''],
  ['ass', 'a class of bass players'],
  ['new york', 'new and york'],
  ['new york', 'york new'],
  ['new york', 'newyork'],
  ['new york', 'new'],
  ['bomb*', 'a snowbomb'],
  ['*bomb', 'bombs'],
  ['ab*ba', 'aba'],
  ['a*b', 'a b'],
  ['b*m*s', 'bomb'],
  ['make * bomb', 'make bomb'],
  ['make * bomb', 'make a big bomb'],
  ['炸弹', '炸毁弹'],
  ['c++', 'vitamin c'],
  ['$$$', '$$'],
  ['café', 'cafe'],
  ['42', '421']
])('the pattern %j does not block %j', (pattern, text) => {
  expect(createBlockedPatterns(['another one', pattern])(text)).toBe(false)
})

test('no pattern blocks nothing', () => {
  expect(createBlockedPatterns([])('a bomb')).toBe(false)
})

test.each([['*'], ['* *'], ['…'], ['  '], ['\u200b'], ['***!']])('refuses the pattern %j, which says nothing', (pattern) => {
  expect(patternProblem(pattern)).toBe('must hold a letter, a digit or a symbol besides "*"')
  expect(createBlockedPatterns([pattern])('a cat')).toBe(false)
})

test.each([['bomb'], ['*bomb*'], ['🔫'], ['弾'], ['a *']])('takes the pattern %j', (pattern) => {
  expect(patternProblem(pattern)).toBeUndefined()
})

test('blocks exactly what a matcher without any shortcut blocks', () => {
  const word = (characters: string[]) => fc.string({ unit: fc.constantFrom(...characters), minLength: 1, maxLength: 6 })
  const phrase = (characters: string[]) => fc.array(word(characters), { minLength: 1, maxLength: 4 }).map((words) => words.join(' '))
  const patterns = fc.array(phrase(['a', 'b', '*']), { minLength: 1, maxLength: 6 })
  const text = fc.array(word(['a', 'b']), { maxLength: 12 }).map((words) => words.join(' '))
  fc.assert(
    fc.property(patterns, text, (blocked, prompt) => {
      expect(createBlockedPatterns(blocked)(prompt)).toBe(blocked.some((pattern) => slowlyFits(pattern, prompt)))
    }),
    { numRuns: 5_000 }
  )
})

test('never throws, and blocks a text that repeats a pattern that has no "*", whatever that is', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }), fc.string({ unit: 'binary' }), (pattern, other) => {
      const blocks = createBlockedPatterns([pattern])
      blocks(other)
      // A mark at either end would join the words around it.
      const isWhole = patternProblem(pattern) === undefined && !pattern.includes('*') && !pattern.normalize('NFKC').includes('*')
      if (isWhole) expect(blocks(`x. ${pattern} .x`)).toBe(true)
    }),
    { numRuns: 2_000 }
  )
})

test('a hostile text and hostile patterns take no more than a look at each', () => {
  const patterns = Array.from({ length: 5_000 }, (_, index) => `${'a*'.repeat(90)}${index}b`)
  const blocks = createBlockedPatterns([...patterns, `*${'a'.repeat(150)}*b`, `${'a '.repeat(90)}b`])
  expect([blocks('a'.repeat(131_072)), blocks('a '.repeat(65_536)), blocks(`${'a'.repeat(131_000)}b`)]).toEqual([false, false, true])
})

/** The definition, word by word and character by character. */
function slowlyFits(pattern: string, text: string): boolean {
  const words = pattern.split(' ').map((word) => word.replace(/\*+/g, '*'))
  while (words[0] === '*') words.shift()
  while (words.at(-1) === '*') words.pop()
  if (words.length === 0) return false
  const given = text.split(' ').filter((word) => word !== '')
  return given.some((_, start) => words.every((word, index) => wordFits(word, given[start + index])))
}

function wordFits(pattern: string, word: string | undefined): boolean {
  if (word === undefined) return false
  if (pattern === '') return word === ''
  if (pattern.startsWith('*')) return wordFits(pattern.slice(1), word) || (word !== '' && wordFits(pattern, word.slice(1)))
  return word.startsWith(pattern.slice(0, 1)) && wordFits(pattern.slice(1), word.slice(1))
}
