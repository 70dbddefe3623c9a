import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { boundaryOf, readMultipart } from '../../src/wire/multipart.ts'
import { chunkSource, collect, cutAt } from '../support/chunks.ts'
import { boundary, formBody } from '../support/form.ts'

const file = Buffer.from(`bytes with \r\n--${boundary.slice(0, -1)} and \r\r\n-- and \0 in them\r\n`)
const parts = [
  { name: 'prompt', content: 'a cat with an ümlaut' },
  { name: 'image[]', content: file, filename: 'a "cat".png', type: 'image/png' },
  { name: 'empty', content: '' },
  { name: 'mask', content: '\r\n', filename: '', type: 'application/octet-stream' }
]
const body = formBody(parts.map((part) => (part.filename === 'a "cat".png' ? { ...part, filename: 'a %22cat%22.png' } : part)))
const asRead = [
  { name: 'prompt', filename: undefined, contentType: '', content: Buffer.from('a cat with an ümlaut') },
  { name: 'image[]', filename: 'a "cat".png', contentType: 'image/png', content: file },
  { name: 'empty', filename: undefined, contentType: '', content: Buffer.alloc(0) },
  { name: 'mask', filename: '', contentType: 'application/octet-stream', content: Buffer.from('\r\n') }
]

test('reads the same parts wherever the body is cut into chunks', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat()), async (places) => {
      expect(await read(cutAt(body, places))).toEqual(asRead)
    })
  )
  expect(await read(Array.from(body, (byte) => Buffer.of(byte)))).toEqual(asRead)
})

test('takes a preamble, an epilogue and white space behind a boundary', async () => {
  const text = body.toString('latin1').replace(`--${boundary}\r\n`, `This is a form.\r\n--${boundary} \t\r\n`)
  expect(await read([Buffer.from(`${text}and no more`, 'latin1')])).toEqual(asRead)
})

test('takes a form without parts', async () => {
  expect(await read([Buffer.from(`--${boundary}--`)])).toEqual([])
})

test('skips what is left unread, and what is left in the middle', async () => {
  const names: string[] = []
  const large = [...parts, { name: 'large', content: Buffer.alloc(300_000, 'x'), filename: 'x' }, { name: 'last', content: 'end' }]
  for await (const part of readMultipart(chunkSource(cutAt(formBody(large), [70_000, 140_000, 210_000])), boundary, { maxParts: 9 })) {
    names.push(part.name)
    if (part.name === 'large') for await (const _ of part.chunks) break
  }
  expect(names).toEqual(['prompt', 'image[]', 'empty', 'mask', 'large', 'last'])
})

test('hands out what has arrived before the rest of the part is there', async () => {
  const whole = formBody([{ name: 'image', content: Buffer.alloc(200_000, 'x'), filename: 'x' }])
  const source = chunkSource(cutAt(whole, [50_000, 100_000, 150_000]))
  for await (const { chunks } of readMultipart(source, boundary, { maxParts: 1 })) {
    const first = await chunks[Symbol.asyncIterator]().next()
    expect([first.value?.length > 40_000, source.taken]).toEqual([true, 1])
    break
  }
})

const disposition = 'content-disposition: form-data; name="a"'
test.each([
  ['does not begin with its boundary', 'x'.repeat(70_000), /its boundary does not occur/],
  ['is no form at all', '{"prompt":"a cat"}', /it ends before its last boundary/],
  ['is empty', '', /it ends before its last boundary/],
  ['ends within a part', `--${boundary}\r\n${disposition}\r\n\r\nhalf`, /it ends before its last boundary/],
  ['ends within the headers', `--${boundary}\r\n${disposition}\r\n`, /it ends before its last boundary/],
  ['ends within its last boundary', `--${boundary}\r\n${disposition}\r\n\r\nx\r\n--${boundary}-`, /it ends before its last boundary/],
  ['has something behind a boundary', `--${boundary}x\r\n${disposition}\r\n\r\nx\r\n--${boundary}--`, /not followed by a line break/],
  ['has spaces without end behind a boundary', `--${boundary}${' '.repeat(500)}`, /not followed by a line break/],
  ['has headers without end', `--${boundary}\r\n${disposition}\r\n${'x: y\r\n'.repeat(5000)}`, /headers of a part exceed 8192 bytes/],
  ['has a header without colon', `--${boundary}\r\nnothing\r\n\r\nx\r\n--${boundary}--`, /malformed header/],
  ['has a part without headers', `--${boundary}\r\n\r\nx\r\n--${boundary}--`, /no content-disposition/],
  ['has a part without a name', `--${boundary}\r\ncontent-disposition: form-data\r\n\r\nx\r\n--${boundary}--`, /no name/],
  ['has a part twice named', `--${boundary}\r\n${disposition}\r\n${disposition}\r\n\r\nx\r\n--${boundary}--`, /two content-disposition/],
  ['has an attachment', `--${boundary}\r\ncontent-disposition: attachment; name="a"\r\n\r\nx\r\n--${boundary}--`, /form-data/],
  [
    'holds another form',
    `--${boundary}\r\n${disposition}\r\ncontent-type: multipart/mixed; boundary=b\r\n\r\nx\r\n--${boundary}--`,
    /several/
  ],
  ['is coded', `--${boundary}\r\n${disposition}\r\ncontent-transfer-encoding: base64\r\n\r\neA==\r\n--${boundary}--`, /as they are/],
  ['goes on behind its end', `--${boundary}--${'x'.repeat(70_000)}`, /goes on behind its last boundary/]
])('refuses a body that %s', async (_, text, message) => {
  await expect(read([Buffer.from(text)])).rejects.toMatchObject({ reason: 'MALFORMED_BODY', message: expect.stringMatching(message) })
})

test('refuses more parts than its limit as soon as the first one too many begins', async () => {
  const one = formBody([{ name: 'a', content: 'x' }])
  const many = Buffer.concat([...Array.from({ length: 10_000 }, () => one.subarray(0, -boundary.length - 6)), one])
  const source = chunkSource(
    cutAt(
      many,
      Array.from({ length: 100 }, (_, at) => at * 1000)
    )
  )
  await expect(collectParts(source, 128)).rejects.toMatchObject({ reason: 'MALFORMED_BODY', message: expect.stringContaining('128 parts') })
  expect(source.taken).toBeLessThan(20)
})

test('passes on what the source throws', async () => {
  const broken = (async function* () {
    yield body.subarray(0, 200)
    throw new Error('gone')
  })()
  await expect(collectParts(broken, 9)).rejects.toThrow('gone')
})

describe('the content type', () => {
  test.each([
    ['multipart/form-data; boundary=abc', 'abc'],
    ['Multipart/Form-Data; charset=utf-8; BOUNDARY="a b:c"', 'a b:c'],
    ['multipart/form-data;boundary=----formdata-undici-012', '----formdata-undici-012'],
    ['application/json', undefined],
    ['multipart/mixed; boundary=abc', undefined],
    [undefined, undefined]
  ])('%s has the boundary %s', (contentType, expected) => {
    expect(boundaryOf(contentType)).toBe(expected)
  })

  test.each([
    'multipart/form-data',
    'multipart/form-data; boundary=',
    'multipart/form-data; boundary=""',
    `multipart/form-data; boundary=${'x'.repeat(71)}`,
    'multipart/form-data, multipart/form-data; boundary=x y'
  ])('%s is refused, or is no form', (contentType) => {
    if (contentType.includes(',')) expect(boundaryOf(contentType)).toBeUndefined()
    else expect(() => boundaryOf(contentType)).toThrow(/names no boundary/)
  })
})

function read(chunks: Iterable<Uint8Array>) {
  return collectParts(chunkSource(chunks), 9)
}

async function collectParts(source: AsyncIterable<Uint8Array>, maxParts: number) {
  const read = []
  for await (const { chunks, ...headers } of readMultipart(source, boundary, { maxParts })) {
    read.push({ ...headers, content: await collect(chunks) })
  }
  return read
}
