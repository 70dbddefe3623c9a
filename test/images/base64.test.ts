import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createBase64Decoder, decodeBase64, decodingRoom, encodeBase64 } from '../../src/images/base64.ts'
import { createDecodingMemory } from '../../src/images/decode-groups.ts'
import { chunkSource, collect, cutAt } from '../support/chunks.ts'

const cuts = fc.array(fc.nat(), { maxLength: 20 })
// Short and long enough for the fast way.
const binary = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ minLength: 300, maxLength: 3000, size: 'max' }))

test('encodes what Buffer encodes, wherever chunks are cut', async () => {
  await fc.assert(
    fc.asyncProperty(binary, cuts, async (bytes, places) => {
      const chars = await collect(encodeBase64(chunkSource(cutAt(bytes, places))))
      expect(chars.toString('latin1')).toBe(Buffer.from(bytes).toString('base64'))
    }),
    { numRuns: 500 }
  )
})

test('decodes what Buffer has encoded, wherever chunks are cut', async () => {
  await fc.assert(
    fc.asyncProperty(binary, cuts, async (bytes, places) => {
      const chars = Buffer.from(Buffer.from(bytes).toString('base64'))
      expect(await collect(decodeBase64(chunkSource(cutAt(chars, places))))).toEqual(Buffer.from(bytes))
    }),
    { numRuns: 500 }
  )
})

test('decodes one chunk behind the other into memory for that, wherever they are cut', () => {
  const memory = createDecodingMemory(65_536) ?? Buffer.alloc(0)
  fc.assert(
    fc.property(binary, cuts, (bytes, places) => {
      const decoder = createBase64Decoder()
      let length = 0
      for (const chars of cutAt(Buffer.from(Buffer.from(bytes).toString('base64')), places)) {
        const decoded = decoder.decode(chars, memory.subarray(length, length + decodingRoom(chars.length)))
        if (decoded.length > 0) expect([decoded.buffer === memory.buffer, decoded.byteOffset]).toEqual([true, length])
        length += decoded.length
      }
      decoder.end()
      expect(memory.subarray(0, length)).toEqual(Buffer.from(bytes))
    }),
    { numRuns: 500 }
  )
})

test('refuses text behind the padding in memory for decoding too', () => {
  const memory = createDecodingMemory(65_536) ?? Buffer.alloc(0)
  const decoder = createBase64Decoder()
  expect(decoder.decode(Buffer.from('AAAAAA=='), memory).length).toBe(4)
  expect(() => decoder.decode(Buffer.from('AAAA'), memory)).toThrow(SyntaxError)
})

test('refuses text with one foreign character, wherever chunks are cut', async () => {
  const foreign = fc.constantFrom(...'-_ \n\r\t"\\.=é'.split(''))
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 6, maxLength: 600, size: 'max' }),
      fc.nat(),
      foreign,
      cuts,
      async (bytes, place, character, places) => {
        const chars = Buffer.from(bytes).toString('base64')
        // Before the last group, where an equals sign is legal.
        const at = place % (chars.length - 4)
        const text = Buffer.from(chars.slice(0, at) + character + chars.slice(at + 1), 'latin1')
        await expect(collect(decodeBase64(chunkSource(cutAt(text, places))))).rejects.toThrow(SyntaxError)
      }
    ),
    { numRuns: 500 }
  )
})

test.each(['A', 'AA', 'AAA', 'AAAAA', 'AA=', '=', '====', 'A===', 'AA==AAAA', 'AAA=AAAA', 'AAAA=', 'AA AA', 'AAAA\n'])(
  'refuses %j, in one chunk and in single characters',
  async (text) => {
    await expect(collect(decodeBase64(chunkSource([text])))).rejects.toThrow(SyntaxError)
    await expect(collect(decodeBase64(chunkSource([...text])))).rejects.toThrow(SyntaxError)
  }
)

test('takes empty chunks and gives none', async () => {
  const chunks: number[] = []
  for await (const chunk of decodeBase64(chunkSource(['', 'AAA', '', 'A', '']))) chunks.push(chunk.length)
  expect(chunks).toEqual([3])
})

test.each([decodeBase64, encodeBase64])('%o releases its source when it is left early', async (convert) => {
  const source = chunkSource(['AAAA', 'AAAA', 'AAAA'])
  for await (const _ of convert(source)) break
  expect(source).toMatchObject({ released: true, taken: 1 })
})

test('releases its source when the text is invalid', async () => {
  const source = chunkSource(['AAAA', '!!!!', 'AAAA'])
  await expect(collect(decodeBase64(source))).rejects.toThrow(SyntaxError)
  expect(source).toMatchObject({ released: true, taken: 2 })
})

test('throws what the source throws', async () => {
  async function* broken() {
    yield Buffer.from('AAAA')
    throw new Error('the connection broke')
  }
  await expect(collect(decodeBase64(broken()))).rejects.toThrow('the connection broke')
})
