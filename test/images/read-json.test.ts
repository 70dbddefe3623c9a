import type { JsonValue } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { freeChunk } from '../../src/images/free-chunk.ts'
import { JsonError, type LiftOptions, parseJson, readJson, readWholeJson } from '../../src/images/read-json.ts'
import { chunkSource, collect, cutAt } from '../support/chunks.ts'

const images: LiftOptions = { lift: ['data[].b64_json'], emit: ['data[]'] }

test('lifts strings at the declared path and gives each element and the document without them', async () => {
  const parts = await partsOf(
    '{"created":7,"data":[{"b64_json":"AAAA","revised_prompt":"a cat"},{"b64_json":"BBBB"}],"usage":{"total_tokens":3}}',
    images
  )
  expect(parts).toEqual([
    { path: ['data', 0, 'b64_json'], chars: 'AAAA' },
    { path: ['data', 0], value: { b64_json: '', revised_prompt: 'a cat' } },
    { path: ['data', 1, 'b64_json'], chars: 'BBBB' },
    { path: ['data', 1], value: { b64_json: '' } },
    {
      path: [],
      value: { created: 7, data: [{ b64_json: '', revised_prompt: 'a cat' }, { b64_json: '' }], usage: { total_tokens: 3 } }
    }
  ])
})

test('gives the same parts of a document that is all here, unless there is a string to lift in it', async () => {
  const item = fc.oneof(
    { weight: 3, arbitrary: fc.dictionary(fc.constantFrom('url', 'b64_json', 'note'), fc.json({ maxDepth: 2 })) },
    fc.json()
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(item, { maxLength: 3 }),
      fc.constantFrom('', ',"data":[{"url":"x"}]', ',"error":null}', ']'),
      async (items, end) => {
        const rendered = items.map((each) => (typeof each === 'string' ? each : JSON.stringify(each)))
        const text = `{"data":[${rendered}]${end}}`
        const whole = readWholeJson(Buffer.from(text), images)
        const parts = await partsOf(text, images).catch(() => undefined)
        const isLifted = parts?.some((part) => 'chars' in part) ?? true
        expect(whole?.map(({ path, value }) => ({ path, value }))).toEqual(isLifted ? undefined : parts)
      }
    )
  )
})

test('leaves what is not a string at the lifted path in the document', async () => {
  expect(await partsOf('{"data":[{"b64_json":null,"url":"https://x"}]}', { lift: ['data[].b64_json'] })).toEqual([
    { path: [], value: { data: [{ b64_json: null, url: 'https://x' }] } }
  ])
})

test.each([
  ['a deeper path', '{"data":[{"x":{"b64_json":"AAAA"}}]}'],
  ['another parent', '{"date":[{"b64_json":"AAAA"}]}'],
  ['an object in place of the array', '{"data":{"0":{"b64_json":"AAAA"}}}'],
  ['a key of that name', '{"data":[{"b64_json":1,"AAAA":{"b64_json":"AAAA"}}]}']
])('does not lift a string below %s', async (_, text) => {
  expect(await partsOf(text, { lift: ['data[].b64_json'] })).toEqual([{ path: [], value: JSON.parse(text) }])
})

test('finds the path through keys that are written with escapes', async () => {
  expect(await partsOf('{"d\\u0061ta":[{"b64\\u005fjson":"AAAA"}]}', { lift: ['data[].b64_json'] })).toEqual([
    { path: ['data', 0, 'b64_json'], chars: 'AAAA' },
    { path: [], value: { data: [{ b64_json: '' }] } }
  ])
})

test('lifts strings of the root object and of nested arrays', async () => {
  expect(await partsOf('{"b64_json":"AA","pages":[["BB"],["CC"]]}', { lift: ['b64_json', 'pages[][]'] })).toEqual([
    { path: ['b64_json'], chars: 'AA' },
    { path: ['pages', 0, 0], chars: 'BB' },
    { path: ['pages', 1, 0], chars: 'CC' },
    { path: [], value: { b64_json: '', pages: [[''], ['']] } }
  ])
})

test('hands out slices of the chunks that the source gave', async () => {
  const chunk = Buffer.from('{"b64_json":"AAAABBBB"}')
  for await (const part of readJson(chunkSource([chunk]), { lift: ['b64_json'] })) {
    if (part.kind === 'value') continue
    for await (const chars of part.chars) expect(chars.buffer === chunk.buffer && chars.byteOffset === chunk.byteOffset + 13).toBe(true)
  }
})

test('goes on where the reader of a lifted string frees every chunk that it has read', async () => {
  const chunks = ['{"a":"', 'AAAA', 'BBBB', 'CC","b":1}'].map((text) => Uint8Array.from(Buffer.from(text)))
  const read: unknown[] = []
  for await (const part of readJson(chunkSource(chunks), { lift: ['a'] })) {
    if (part.kind === 'value') read.push(part.value)
    else
      for await (const chars of part.chars) {
        read.push(Buffer.from(chars).toString())
        freeChunk(chars)
      }
  }
  expect(read).toEqual(['AAAA', 'BBBB', 'CC', { a: '', b: 1 }])
  expect(chunks.map(({ length }) => length)).toEqual([6, 0, 0, 10])
})

test('resolves escapes of printable characters in a lifted string, wherever chunks are cut', async () => {
  const text = '{"b64_json":"ab\\/cd\\u002Bef\\u002f=="}'
  for (let place = 0; place <= text.length; place++) {
    for (const other of [place, place + 1, place + 3]) {
      const parts = await partsOf(cutAt(Buffer.from(text), [place, other]), { lift: ['b64_json'] })
      expect(parts[0]).toEqual({ path: ['b64_json'], chars: 'ab/cd+ef/==' })
    }
  }
})

test.each(['\\"', '\\\\', '\\n', '\\u0022', '\\u005c', '\\u000a', '\\u00e9', '\\x', '\\u00g0', '\\u00'])(
  'refuses the escape %s in a lifted string and does not take it for its end',
  async (written) => {
    await expect(partsOf(`{"b64_json":"AA${written}BB"}`, { lift: ['b64_json'] })).rejects.toMatchObject({
      kind: 'malformed',
      message: 'the string at byte 13 holds an escape that data must not hold'
    })
  }
)

test('passes a lifted string that nobody reads', async () => {
  const kinds: string[] = []
  for await (const part of readJson(chunkSource(['{"data":[{"b64_json":"AA', 'AA"},{"b64_json":"BB', 'BB"}]}']), images))
    kinds.push(part.kind)
  expect(kinds).toEqual(['lifted', 'value', 'lifted', 'value', 'value'])
})

test('passes the rest of a lifted string that was read in part', async () => {
  const values: JsonValue[] = []
  for await (const part of readJson(chunkSource(['{"a":"AA', 'BB', 'CC","b":1}']), { lift: ['a'] })) {
    if (part.kind === 'lifted') await part.chars[Symbol.asyncIterator]().next()
    else values.push(part.value)
  }
  expect(values).toEqual([{ a: '', b: 1 }])
})

test('releases the source when the parts are left early', async () => {
  const source = chunkSource(['{"a":"AA', 'BB"}'])
  for await (const _ of readJson(source, { lift: ['a'] })) break
  expect(source).toMatchObject({ released: true, taken: 1 })
})

test('releases the source when a lifted string is left early, and gives no document then', async () => {
  const source = chunkSource(['{"a":"AA', 'BB', 'CC"}'])
  const parts = readJson(source, { lift: ['a'] })
  const first = await parts.next()
  if (!first.done && first.value.kind === 'lifted') for await (const _ of first.value.chars) break
  expect(source).toMatchObject({ released: true, taken: 1 })
  await expect(parts.next()).rejects.toMatchObject({ kind: 'truncated', message: 'the document was left at byte 8' })
})

test('does not release a source that has ended', async () => {
  const source = chunkSource(['{"a":1}'])
  await partsOf(source, { lift: [] })
  expect(source.released).toBe(false)
})

test('releases the source as soon as a lifted string is refused', async () => {
  const source = chunkSource(['{"a":"AA', '\\n', 'CC"}'])
  const first = await readJson(source, { lift: ['a'] }).next()
  if (first.done || first.value.kind !== 'lifted') throw new Error('there is no lifted string')
  await expect(collect(first.value.chars)).rejects.toMatchObject({ kind: 'malformed' })
  expect(source).toMatchObject({ released: true, taken: 2 })
})

test('throws what the source throws', async () => {
  async function* broken() {
    yield Buffer.from('{"a":"AA')
    throw new Error('the connection broke')
  }
  await expect(partsOf(broken(), { lift: ['a'] })).rejects.toThrow('the connection broke')
})

test.each(['', ' ', '{', '{"a"', '{"a":', '{"a":"b', '{"a":"b"', '{"a":"\\', '[1,[2]', '"a', 'tru', '{"x":"AA', '{"x":"AA\\u00'])(
  'says that %j ends early',
  async (text) => {
    await expect(partsOf(text, { lift: ['x'] })).rejects.toMatchObject({ kind: 'truncated' })
  }
)

test.each([
  ['{"a":x}', 'unexpected character at byte 5'],
  ['{"é":x}', 'unexpected character at byte 6'],
  ['[1,]', 'unexpected character at byte 3'],
  ['{"a" 1}', "expected ':' after property name at byte 5"],
  ['[1}', "unexpected '}' at byte 2"],
  ['}', "unexpected '}' at byte 0"],
  ['{"a":1} {"x":"AA"}', 'unexpected character behind the document at byte 8'],
  ['1 2', 'unexpected non-whitespace character after JSON at byte 2'],
  ['{"x":"AAAA","b":y}', 'unexpected character at byte 16'],
  ['{"x":"AAAA","x":"BBBB" 1}', "expected ',' or '}' after property value at byte 23"],
  ['"a\nb"', 'bad control character in string literal at byte 2'],
  ['\ufeff{}', 'unexpected character at byte 0']
])('says what is wrong with %j and where', async (text, message) => {
  await expect(partsOf(text, { lift: ['x'] })).rejects.toMatchObject({ kind: 'malformed', message })
})

test('quotes nothing of the document in its errors', async () => {
  await expect(partsOf('{"prompt":"my secret" oops}', { lift: [] })).rejects.toSatisfy((error: Error) => !/secret|oops/.test(error.message))
})

test('refuses bytes that are not UTF-8', async () => {
  const bytes = Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])
  await expect(partsOf([bytes], { lift: [] })).rejects.toMatchObject({ kind: 'malformed' })
})

test('treats __proto__ and repeated keys as JSON.parse does', async () => {
  const text = '{"__proto__":{"polluted":true},"a":1,"a":2,"constructor":{"prototype":{"polluted":true}}}'
  const [part] = await partsOf(text, { lift: [] })
  expect(part).toEqual({ path: [], value: JSON.parse(text) })
  expect(Object.hasOwn({}, 'polluted') || 'polluted' in {}).toBe(false)
})

test('takes the deepest document that is allowed and refuses one level more', async () => {
  await expect(partsOf('[[["x"]]]', { lift: [], maxDepth: 3 })).resolves.toHaveLength(1)
  await expect(partsOf('[[[["x"]]]]', { lift: [], maxDepth: 3 })).rejects.toMatchObject({
    kind: 'limit',
    message: 'nested deeper than 3 levels at byte 3'
  })
  await expect(partsOf('['.repeat(100_000), { lift: [] })).rejects.toMatchObject({ kind: 'limit' })
})

test('counts the keys of all objects', async () => {
  await expect(partsOf('[{"a":1},{"a":1,"b":2}]', { lift: [], maxKeys: 3 })).resolves.toHaveLength(1)
  await expect(partsOf('[{"a":1},{"a":1,"b":2}]', { lift: [], maxKeys: 2 })).rejects.toMatchObject({
    kind: 'limit',
    message: 'more than 2 keys, at byte 16'
  })
})

test('counts the bytes outside lifted strings only', async () => {
  const text = `{"x":"${'A'.repeat(5000)}","y":1}`
  await expect(partsOf(text, { lift: ['x'], maxBytes: 14 })).resolves.toHaveLength(2)
  await expect(partsOf(text, { lift: ['x'], maxBytes: 13 })).rejects.toMatchObject({
    kind: 'limit',
    message: 'the document is larger than 13 bytes'
  })
})

test('takes the longest lifted string that is allowed and refuses one character more', async () => {
  await expect(partsOf('{"x":"AAAA"}', { lift: ['x'], maxLiftedBytes: 4 })).resolves.toHaveLength(2)
  await expect(partsOf('{"x":"AAAAA"}', { lift: ['x'], maxLiftedBytes: 4 })).rejects.toMatchObject({
    kind: 'limit',
    message: 'the string at byte 6 is longer than 4 bytes'
  })
})

test.each([
  ['white space before the document', ' ', 17],
  ['a string', '"a', 17],
  ['an array', '[1,', 17],
  ['a lifted string', '{"x":"', 257]
])('stops reading an endless answer with %s at its limit, without keeping it', async (_, beginning, mostChunks) => {
  const chunk = Buffer.alloc(65_536, beginning === '{"x":"' ? 'A' : beginning.at(-1) === ',' ? '1,' : ' ')
  const source = chunkSource(endless(beginning, chunk))
  await expect(partsOf(source, { lift: ['x'], maxLiftedBytes: 16_777_216 }, 'skip')).rejects.toMatchObject({ kind: 'limit' })
  expect(source.released).toBe(true)
  expect(source.taken).toBeLessThanOrEqual(mostChunks + 1)
})

test('means what JSON.parse means, wherever chunks are cut', async () => {
  await fc.assert(
    fc.asyncProperty(fc.json({ maxDepth: 8 }), cuts, async (text, places) => {
      const parts = await partsOf(cutAt(Buffer.from(text), places), { lift: [] })
      expect(parts).toEqual([{ path: [], value: JSON.parse(text) }])
    }),
    { numRuns: 500 }
  )
})

test('reads long documents whole', async () => {
  const document = Array.from({ length: 20_000 }, (_, index) => ({ [`key${index % 7}`]: `value ${index} é` }))
  const bytes = Buffer.from(JSON.stringify(document))
  const parts = await partsOf(cutAt(bytes, [5000, 5001, 300_000]), { lift: [], maxKeys: 20_000 })
  expect(parts).toEqual([{ path: [], value: document }])
})

test('refuses exactly what JSON.parse refuses, for mutated documents', async () => {
  const mutation = fc.record({
    place: fc.nat(),
    remove: fc.nat({ max: 3 }),
    insert: fc.constantFrom('', ...'{}[],:"\\ 1a\u0001é', 'null', '""', '\\u00')
  })
  await fc.assert(
    fc.asyncProperty(
      fc.json({ maxDepth: 4 }),
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      cuts,
      async (json, mutations, places) => {
        let text = json
        for (const { place, remove, insert } of mutations) {
          const at = place % (text.length + 1)
          text = text.slice(0, at) + insert + text.slice(at + remove)
        }
        const bytes = Buffer.from(text)
        const expected = outcomeOf(() => JSON.parse(bytes.toString()))
        const actual = await outcomeOfAsync(() => partsOf(cutAt(bytes, places), { lift: [] }))
        expect(actual).toEqual('value' in expected ? { value: [{ path: [], value: expected.value }] } : { refused: true })
      }
    ),
    { numRuns: 2000 }
  )
})

test('lifts what JSON.parse finds at the path and leaves the rest as it is', async () => {
  const element = fc.record(
    { b64_json: fc.oneof(fc.base64String(), fc.constant(null)), note: fc.json({ maxDepth: 2 }) },
    { requiredKeys: [] }
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(element, { maxLength: 4 }),
      fc.jsonValue({ maxDepth: 3 }),
      fc.boolean(),
      cuts,
      async (data, extra, escaped, places) => {
        const text = JSON.stringify({ before: extra, data, after: extra }, null, escaped ? 2 : 0)
        const written = escaped ? text.replaceAll('/', '\\/') : text
        const document = JSON.parse(written)
        const parts = await partsOf(cutAt(Buffer.from(written), places), images)
        const lifted = data.flatMap(({ b64_json }, index) =>
          (b64_json ?? null) === null ? [] : [{ path: ['data', index, 'b64_json'], chars: b64_json }]
        )
        for (const one of document.data) if (typeof one.b64_json === 'string') one.b64_json = ''
        expect(parts.filter((part) => 'chars' in part)).toEqual(lifted)
        expect(parts.filter((part) => part.path.length === 2)).toEqual(
          document.data.map((value: JsonValue, index: number) => ({ path: ['data', index], value }))
        )
        expect(parts.at(-1)).toEqual({ path: [], value: document })
      }
    ),
    { numRuns: 300 }
  )
})

test('parseJson gives what JSON.parse gives', () => {
  const harmless = fc.json().filter((text) => !/__proto__|prototype/.test(text))
  fc.assert(
    fc.property(harmless, (text) => {
      expect(parseJson(Buffer.from(text), { maxDepth: 100 })).toEqual(JSON.parse(text))
    }),
    { numRuns: 300 }
  )
})

test.each([
  '{"__proto__":{}}',
  '{"a":[{"\\u005f_proto__":1}]}',
  '{"constructor":{"prototype":{}}}',
  '{"constructor":{"protot\\u0079pe":{}}}'
])('parseJson refuses %s', (text) => {
  expect(() => parseJson(Buffer.from(text))).toThrow(/the key '(__proto__|prototype)' is not accepted at byte \d+/)
})

test('parseJson takes the words constructor and prototype where they do no harm', () => {
  const text = '{"constructor":"Gehry","prototype":{"a":"__proto__"}}'
  expect(parseJson(Buffer.from(text))).toEqual({ constructor: 'Gehry', prototype: { a: '__proto__' } })
})

test('parseJson keeps the limits', () => {
  expect(() => parseJson(Buffer.from('[[1]]'), { maxDepth: 1 })).toThrow(JsonError)
  expect(() => parseJson(Buffer.from('{"a":1,"b":2}'), { maxKeys: 1 })).toThrow('more than 1 keys, at byte 7')
  expect(() => parseJson(Buffer.from('[1,2,3]'), { maxBytes: 6 })).toThrow('the document is larger than 6 bytes')
  expect(() => parseJson(Buffer.from('{"a":'))).toThrow('the document ends early, at byte 5')
})

const cuts = fc.array(fc.nat(), { maxLength: 12 })

type SeenPart = { path: readonly (string | number)[]; chars: string } | { path: readonly (string | number)[]; value: JsonValue }

async function partsOf(
  document: string | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  options: LiftOptions,
  lifted: 'collect' | 'skip' = 'collect'
): Promise<SeenPart[]> {
  const source =
    typeof document === 'string' ? chunkSource([document]) : Symbol.asyncIterator in document ? document : chunkSource(document)
  const parts: SeenPart[] = []
  for await (const part of readJson(source, options)) {
    if (part.kind === 'value') parts.push({ path: part.path, value: part.value })
    else parts.push({ path: part.path, chars: lifted === 'skip' ? '' : (await collect(part.chars)).toString('latin1') })
  }
  return parts
}

function* endless(beginning: string, chunk: Uint8Array) {
  yield Buffer.from(beginning)
  for (;;) yield chunk
}

function outcomeOf(parse: () => unknown): { value: unknown } | { refused: true } {
  try {
    return { value: parse() }
  } catch {
    return { refused: true }
  }
}

async function outcomeOfAsync(read: () => Promise<unknown>): Promise<{ value: unknown } | { refused: true }> {
  try {
    return { value: await read() }
  } catch (error) {
    expect(error).toBeInstanceOf(JsonError)
    return { refused: true }
  }
}
