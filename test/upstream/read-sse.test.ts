import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readSse } from '../../src/upstream/read-sse.ts'

test('hands out each event with its name and its data', async () => {
  expect(await readAll(['event: a.partial\ndata: {"x":1}\n\n', 'event: a.completed\ndata: {"y":2}\n\n'])).toEqual([
    ['a.partial', ' {"x":1}'],
    ['a.completed', ' {"y":2}']
  ])
})

test('leaves out comments, other fields and events without data', async () => {
  expect(await readAll([': keep-alive\n\nid: 7\nretry: 10\n\nevent: nothing\n\ndata:{}\n\n'])).toEqual([['', '{}']])
})

test('joins data lines that follow each other', async () => {
  expect(await readAll(['event: a\r\ndata:{"x":\r\ndata:1}\r\n\r\n'])).toEqual([['a', '{"x":\r1}\r']])
})

test('reads the same events whatever the borders of the chunks', async () => {
  const text = ': hello\n\nevent: a\ndata: {"x":"ÄÖ"}\n\nevent: b\r\ndata: 1\r\ndata: 2\r\n\r\ndata: last\n\n'
  const whole = await readAll([text])
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 40 }), async (sizes) => {
      expect(await readAll(cut(Buffer.from(text), sizes))).toEqual(whole)
    })
  )
})

test('skips data that nobody reads', async () => {
  const names: string[] = []
  for await (const { event } of readSse(iterate(['event: a\ndata: {"x":1}\n\nevent: b\ndata: 2\n\n']))) names.push(event)
  expect(names).toEqual(['a', 'b'])
})

test('refuses a stream that ends inside an event', async () => {
  await expect(readAll(['event: a\ndata: {"x"'])).rejects.toThrow(new SyntaxError('the event stream ends inside an event'))
})

test('refuses an endless line that is no data', async () => {
  await expect(readAll([`id: ${'7'.repeat(20_000)}`])).rejects.toThrow(new SyntaxError('the event stream has an endless line'))
})

test('passes a long data line on in parts as they come', async () => {
  const parts: number[] = []
  for await (const { data } of readSse(iterate(['data:', 'a'.repeat(50_000), 'b'.repeat(50_000), '\n\n']))) {
    for await (const part of data) parts.push(part.length)
  }
  expect(parts).toEqual([50_000, 50_000])
})

test('releases the source when it is left early', async () => {
  let released = false
  async function* source() {
    try {
      yield Buffer.from('data: 1\n\n')
      yield Buffer.from('data: 2\n\n')
    } finally {
      released = true
    }
  }
  for await (const _ of readSse(source())) break
  expect(released).toBe(true)
})

async function readAll(chunks: readonly (string | Uint8Array)[]): Promise<[string, string][]> {
  const events: [string, string][] = []
  for await (const { event, data } of readSse(iterate(chunks))) {
    const parts: Uint8Array[] = []
    for await (const part of data) parts.push(part)
    events.push([event, Buffer.concat(parts).toString()])
  }
  return events
}

async function* iterate(chunks: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield Buffer.from(chunk as string)
}

function cut(bytes: Buffer, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = []
  for (let offset = 0, at = 0; offset < bytes.length; at++) {
    const size = sizes[at % sizes.length] ?? 1
    chunks.push(bytes.subarray(offset, offset + size))
    offset += size
  }
  return chunks
}
