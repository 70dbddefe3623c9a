import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { boundary } from '../support/form.ts'

interface Said {
  url: string
  apiKey: string
  peakBytes: number
  files: number
}

let child: ChildProcess
let url: string
let authorization: string
beforeAll(async () => {
  child = fork(join(import.meta.dirname, '../support/edit-server-process.ts'), { execArgv: [] })
  const said = await next()
  url = `${said.url}/v1/images/edits`
  authorization = `Bearer ${said.apiKey}`
  // What is compiled and pooled on the way is no part of what an edit takes.
  for (let i = 0; i < 5; i++) await edit(form(16, 1_000_000), `multipart/form-data; boundary=${boundary}`)
  await edit(json(4, 1_000_000), 'application/json')
})
afterAll(async () => {
  child.disconnect()
  await once(child, 'exit')
})

test.each([
  ['as a form', () => form(16, 50_000_000), `multipart/form-data; boundary=${boundary}`],
  ['as data URLs', () => json(16, 50_000_000), 'application/json']
])('sixteen images of 50 MB %s add less than 100 MB to memory', { timeout: 120_000 }, async (_, body, contentType) => {
  const before = await ask('rest')
  expect(await edit(body(), contentType)).toBe(200)
  const after = await ask('peak')
  expect(after.files).toBe(0)
  expect((after.peakBytes - before.peakBytes) / 1e6).toBeLessThan(100)
})

test('fifty edits of sixteen images at once add less than 100 MB to memory', { timeout: 120_000 }, async () => {
  const before = await ask('rest')
  const edits = Array.from({ length: 50 }, () => edit(form(16, 500_000), `multipart/form-data; boundary=${boundary}`))
  expect(new Set(await Promise.all(edits))).toEqual(new Set([200]))
  const after = await ask('peak')
  expect(after.files).toBe(0)
  expect((after.peakBytes - before.peakBytes) / 1e6).toBeLessThan(100)
})

async function edit(body: Iterable<Buffer>, contentType: string): Promise<number> {
  const init = { method: 'POST', headers: { authorization, 'content-type': contentType }, body: Readable.from(body), duplex: 'half' }
  const response = await fetch(url, init as unknown as RequestInit)
  await response.arrayBuffer()
  return response.status
}

function* form(count: number, sizeBytes: number): Generator<Buffer> {
  for (let index = 0; index < count; index++) {
    yield Buffer.from(
      `--${boundary}\r\ncontent-disposition: form-data; name="image[]"; filename="${index}.png"\r\n\r\n\x89PNG\r\n\x1a\n`,
      'latin1'
    )
    yield* repeat(noise, sizeBytes)
    yield Buffer.from('\r\n')
  }
  yield Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na cat\r\n--${boundary}--\r\n`)
}

function* json(count: number, sizeBytes: number): Generator<Buffer> {
  yield Buffer.from('{"prompt":"a cat","images":[')
  for (let index = 0; index < count; index++) {
    yield Buffer.from(`${index === 0 ? '' : ','}{"image_url":"data:image/png;base64,`)
    yield* repeat(base64, (sizeBytes / 3) * 4)
    yield Buffer.from('"}')
  }
  yield Buffer.from(']}')
}

const noise = Buffer.from(Array.from({ length: 65_536 }, (_, index) => (index * 2_654_435_761) >>> 24))
const base64 = Buffer.from(noise.subarray(0, 49_152).toString('base64'))

function* repeat(piece: Buffer, sizeBytes: number): Generator<Buffer> {
  for (let at = 0; at < sizeBytes; at += piece.length) yield piece
}

function ask(question: string): Promise<Said> {
  const answered = next()
  child.send(question)
  return answered
}

async function next(): Promise<Said> {
  const [said] = await once(child, 'message')
  return said as Said
}
