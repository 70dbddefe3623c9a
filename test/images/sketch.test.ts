import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { composeSketch } from '../../src/images/sketch/compose.ts'
import { loadFonts } from '../../src/images/sketch/font.ts'
import { fitLettering, legibleWords } from '../../src/images/sketch/lettering.ts'
import { createTurnstile } from '../../src/images/turnstile.ts'

const fonts = loadFonts()
const plain = { mood: 'plain', transparent: false } as const

test('the font covers Latin with accents and Cyrillic, and neither Chinese, Arabic nor emoji', () => {
  const covered = (text: string) => Array.from(text).every((character) => fonts.title.covers(character.codePointAt(0) ?? 0))
  expect(covered('Façade à Łódź, œuvre, naïve, señor, Ångström, ß, “quoted” – 100 % … · €')).toBe(true)
  expect(covered('Съешь ещё этих мягких французских булок')).toBe(true)
  for (const text of ['猫', 'قطة', '🐱', '\u0000', '\ud800', '\uffff']) expect(covered(text)).toBe(false)
})

test('measures text by the widths of its characters', () => {
  expect(fonts.title.measure('ii')).toBeCloseTo(2 * fonts.title.measure('i'))
  expect(fonts.title.measure('W')).toBeGreaterThan(2 * fonts.title.measure('i'))
  expect(fonts.title.measure('')).toBe(0)
})

test('leaves out words in scripts that the font lacks, and only the symbols of others', () => {
  expect(legibleWords('東京 Tokyo 🐱 café🎉 привет قطة 猫cat fish', fonts.title)).toEqual(['Tokyo', 'café', 'привет', 'fish'])
  expect(legibleWords('e\u0301te\u0301', fonts.title)).toEqual(['été'])
  expect(legibleWords('🎉!', fonts.title)).toEqual([])
  expect(legibleWords(' \u200b \u0000 \n', fonts.title)).toEqual([])
})

test.each(['一只猫 on a roof', '🐱', 'قطة', '<b>&amp;"\'</b>', 'a\u0000b \ud800 c', 'über 100 % naïve', ']]>'])(
  'writes nothing that the fonts lack: %j',
  (prompt) => {
    for (let seed = 0; seed < 12; seed++) {
      const svg = composeSketch({ prompt, seed, width: 400, height: 300, ...plain }, fonts)
      const texts = [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text = '']) =>
        text.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code))
      )
      expect(texts.at(-1)).toMatch(/^seed|not an AI image/)
      expect(texts.flatMap((text) => Array.from(text)).filter((character) => !fonts.title.covers(character.codePointAt(0) ?? 0))).toEqual(
        []
      )
    }
  }
)

test('says on every image that it is no AI image', () => {
  for (const [width, height] of [
    [1024, 1024],
    [256, 256],
    [64, 64],
    [3000, 1000],
    [1000, 3000]
  ] as const) {
    for (const transparent of [true, false]) {
      expect(composeSketch({ prompt: 'a cat', seed: 1, width, height, mood: 'vivid', transparent }, fonts)).toContain(
        '>sketch · not an AI image</text>'
      )
    }
  }
})

test.each([
  [1024, 1024],
  [1000, 3000],
  [3000, 1000],
  [256, 256],
  [64, 4096],
  [4096, 64],
  [3840, 2160]
])('keeps all letters inside an image of %i by %i', (width, height) => {
  const prompts = [
    'a cat',
    'Donaudampfschifffahrtsgesellschaftskapitän',
    'A lighthouse at dusk, seen from the sea, '.repeat(40),
    'x'.repeat(500),
    '猫'
  ]
  for (const prompt of prompts) {
    for (let seed = 0; seed < 20; seed++) {
      const svg = composeSketch({ prompt, seed, width, height, mood: 'plain', transparent: seed % 3 === 0 }, fonts)
      for (const [, x, y, weight, size, text = ''] of svg.matchAll(
        /<text x="([^"]*)" y="([^"]*)"[^>]*font-weight="(\d+)" font-size="([^"]*)"[^>]*>([^<]*)</g
      )) {
        const font = weight === '600' ? fonts.title : fonts.caption
        expect(Number(x)).toBeGreaterThanOrEqual(0)
        expect(Number(x) + font.measure(text) * Number(size)).toBeLessThanOrEqual(width)
        expect(Number(y) - Number(size) * 0.72).toBeGreaterThanOrEqual(-0.02 * Number(size))
        expect(Number(y)).toBeLessThanOrEqual(height)
      }
      expect(svg).not.toMatch(/NaN|Infinity|undefined/)
    }
  }
})

test('sets lines of nearly equal length and leaves no word alone', () => {
  const words = 'an astronaut riding a horse through a field of sunflowers'.split(' ')
  const { lines } = fitLettering(words, fonts.title, { width: 800, height: 400, largest: 120, smallest: 20 })
  expect(lines).toEqual(['an astronaut riding', 'a horse through a', 'field of sunflowers'])
})

test('ends text that does not fit in an ellipsis and keeps inside the box', () => {
  const box = { width: 300, height: 100, largest: 40, smallest: 20 }
  const { lines, size, leading } = fitLettering(
    Array.from({ length: 100 }, () => 'lighthouse'),
    fonts.title,
    box
  )
  expect(lines.at(-1)).toMatch(/^(lighthouse )*lighthouse…$/)
  expect(Math.max(...lines.map(fonts.title.measure)) * size).toBeLessThanOrEqual(300)
  expect(lines.length * leading).toBeLessThanOrEqual(100)
})

test('breaks a word that is longer than a line', () => {
  const box = { width: 100, height: 400, largest: 40, smallest: 20 }
  const { lines, size } = fitLettering(['x'.repeat(30)], fonts.title, box)
  expect(lines.join('')).toBe('x'.repeat(30))
  expect(Math.max(...lines.map(fonts.title.measure)) * size).toBeLessThanOrEqual(100)
})

test('composes the same picture at every size of one ratio', () => {
  const shape = (edge: number) =>
    composeSketch({ prompt: 'a cat', seed: 5, width: edge, height: edge, ...plain }, fonts).replace(/[\d.-]+/g, '')
  expect(shape(2048)).toBe(shape(1024))
})

test('a turnstile lets as many tasks run as it has places, in the order in which they came', async () => {
  const turnstile = createTurnstile(2)
  const ends: (() => void)[] = []
  const begun: number[] = []
  const passing = [0, 1, 2, 3].map((task) =>
    turnstile.pass(() => {
      begun.push(task)
      return new Promise<void>((resolve) => ends.push(resolve))
    }, new AbortController().signal)
  )
  await nextTurn()
  expect(begun).toEqual([0, 1])
  ends.shift()?.()
  await nextTurn()
  expect(begun).toEqual([0, 1, 2])
  ends.shift()?.()
  await nextTurn()
  expect(begun).toEqual([0, 1, 2, 3])
  for (const end of ends) end()
  await Promise.all(passing)
})

test('a task that fails or is given up while it waits frees its place', async () => {
  const turnstile = createTurnstile(1)
  const never = new AbortController().signal
  const gone = new AbortController()
  const held = Promise.withResolvers<void>()
  const first = turnstile.pass(() => held.promise, never)
  const second = turnstile.pass(() => Promise.resolve('second'), gone.signal)
  const third = turnstile.pass(() => Promise.resolve('third'), never)
  gone.abort(new Error('gone'))
  await expect(second).rejects.toThrow('gone')
  held.reject(new Error('broken'))
  await expect(first).rejects.toThrow('broken')
  expect(await third).toBe('third')
  expect(await turnstile.pass(() => Promise.resolve('fourth'), never)).toBe('fourth')
})
