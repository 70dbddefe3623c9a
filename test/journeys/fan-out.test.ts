import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import { afterEach, expect, test } from 'vitest'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { download } from '../support/gateway.ts'
import { listTasks, readTask, submit } from '../support/task-client.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

interface ImagesAnswer {
  data: { b64_json?: string; url?: string }[]
  missing?: { index: number; outcome: string; message: string }[]
  error?: { message: string; type: string; code: string | null }
}

/** What stands in for the vendor, one image per call; `place` is the image's, as its seed tells. */
type Vendor = (place: number, response: ServerResponse) => Promise<void> | void

const generations = '/v1/images/generations'
const firstSeed = 100
const body = { model: 'stable-image-core', prompt: 'a fox', seed: firstSeed, response_format: 'b64_json' }

test('more images than the model makes per call are made by several calls, at most four at a time, and come in order', async () => {
  let open = 0
  let most = 0
  const { atelier, paths } = await start(async (place, response) => {
    open += 1
    most = Math.max(most, open)
    await sleep(place % 2 === 0 ? 30 : 5)
    open -= 1
    answer(response, await picture(place))
  })
  const response = await atelier.post(generations, { ...body, n: 7 })
  const { data, missing } = (await response.json()) as ImagesAnswer
  expect([response.status, missing, most, paths.length]).toEqual([200, undefined, 4, 7])
  expect(response.headers.get('x-atelier-warnings')).toBe(
    'n=emulated; message="7 images are made by 7 calls, each billed on its own: stable-image-core makes fewer per call"'
  )
  expect(await Promise.all(data.map(placeOf))).toEqual([0, 1, 2, 3, 4, 5, 6])
})

test('links to the images come in order too', async () => {
  const { atelier } = await start(async (place, response) => answer(response, await picture(place)))
  const response = await atelier.post(generations, { ...body, n: 3, response_format: 'url' })
  const { data } = (await response.json()) as ImagesAnswer
  expect(await Promise.all(data.map(async ({ url }) => placeIn(await download(url))))).toEqual([0, 1, 2])
})

test.each([
  ['into the store', 'on', 4],
  ['into the spool with tasks: off, where nothing is left of them', 'off', 0]
] as const)('later images are taken in while the first one is still slow, %s', async (_, tasks, filesLeft) => {
  const size = 3_000_000
  const slow = Promise.withResolvers<void>()
  const taken: number[] = []
  const others = Promise.withResolvers<void>()
  const { atelier } = await start(async (place, response) => {
    const bytes = Buffer.concat([await picture(place), Buffer.alloc(size, place)])
    if (place === 0) {
      response.writeHead(200, headers(bytes))
      response.write(bytes.subarray(0, 1000))
      await slow.promise
      response.end(bytes.subarray(1000))
      return
    }
    answer(response, bytes)
    await once(response, 'finish')
    if (taken.push(place) === 3) others.resolve()
  }, tasks)
  const answered = atelier.post(generations, { ...body, n: 4 })
  await others.promise
  while ((await filesIn(atelier)).length < 3) await sleep(5)
  slow.resolve()
  const response = await answered
  const { data } = (await response.json()) as ImagesAnswer
  expect(response.status).toBe(200)
  for (const [place, { b64_json }] of data.entries()) {
    const expected = Buffer.concat([await picture(place), Buffer.alloc(size, place)])
    expect(Buffer.compare(Buffer.from(b64_json ?? '', 'base64'), expected)).toBe(0)
  }
  expect((await filesIn(atelier)).length).toBe(filesLeft)
})

test('some images without the others are an answer that names what is missing', async () => {
  const { atelier } = await start(async (place, response) => {
    if (place === 0) return refuse(response, 403, 'content_moderation')
    if (place === 2) return void response.socket?.resetAndDestroy()
    answer(response, await picture(place))
  })
  const response = await atelier.post(generations, { ...body, n: 4 })
  const { data, missing } = (await response.json()) as ImagesAnswer
  expect(response.status).toBe(200)
  expect(await Promise.all(data.map(placeOf))).toEqual([1, 3])
  expect(missing).toEqual([
    { index: 0, outcome: 'moderated', message: expect.any(String) },
    { index: 2, outcome: 'failed', message: expect.stringMatching(/^the answer of the provider stability was lost: /) }
  ])
})

test('some images without the others stand in a task as well, with what became of each call', async () => {
  const { atelier } = await start(async (place, response) => {
    if (place === 0) return refuse(response, 403, 'content_moderation')
    if (place === 2) return void response.socket?.resetAndDestroy()
    answer(response, await picture(place))
  })
  const { id } = await submit(atelier, { ...body, n: 4 })
  const { status, attempts, result } = await readTask(atelier, id)
  expect([status, attempts.map(({ part, status }) => [part, status])]).toEqual([
    'succeeded',
    [
      [0, 'rejected'],
      [1, 'succeeded'],
      [2, 'unknown'],
      [3, 'succeeded']
    ]
  ])
  expect(await Promise.all((result?.data ?? []).map(async ({ url }) => placeIn(await download(url))))).toEqual([1, 3])
  expect(result?.missing).toEqual([
    { index: 0, outcome: 'moderated', message: expect.any(String) },
    { index: 2, outcome: 'failed', message: expect.stringMatching(/^the answer of the provider stability was lost: /) }
  ])
})

test('no image at all is the error of the first call', async () => {
  const { atelier, paths } = await start((_, response) => refuse(response, 403, 'content_moderation'))
  const response = await atelier.post(generations, { ...body, n: 3 })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error?.code, paths.length]).toEqual([400, 'content_policy_violation', 3])
})

test('no image at all is said to be of unknown outcome if one call may have been billed', async () => {
  const { atelier } = await start((place, response) => {
    if (place === 2) response.socket?.resetAndDestroy()
    else refuse(response, 403, 'content_moderation')
  })
  const response = await atelier.post(generations, { ...body, n: 3 })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error?.code, response.headers.get('x-should-retry')]).toEqual([500, 'outcome_unknown', 'false'])
})

test('a caller who goes away leaves every call to its end, and the images to be fetched', async () => {
  const { atelier, paths } = await start(async (place, response) => {
    await sleep(place * 50)
    answer(response, await picture(place))
  })
  const caller = new AbortController()
  const answered = askToLeave(atelier, { ...body, n: 6 }, caller)
  await expect.poll(() => paths.length).toBeGreaterThanOrEqual(4)
  caller.abort()
  await expect(answered).rejects.toThrow()
  const { data: tasks } = await listTasks(atelier)
  const { status, result } = await readTask(atelier, tasks[0]?.id ?? '')
  const places = await Promise.all((result?.data ?? []).map(async ({ url }) => placeIn(await download(url))))
  expect([tasks.length, status, places, paths.length]).toEqual([1, 'succeeded', [0, 1, 2, 3, 4, 5], 6])
})

test.each([
  ['who wished it so', 'on', { 'x-atelier-on-disconnect': 'cancel' }],
  ['with tasks: off', 'off', {}]
] as const)('every call is stopped when a caller %s goes away', async (_, tasks, wish) => {
  const closed: number[] = []
  const all = Promise.withResolvers<void>()
  const { atelier, paths } = await start(async (place, response) => {
    response.once('close', () => {
      if (closed.push(place) === 4) all.resolve()
    })
    const bytes = Buffer.concat([await picture(place), Buffer.alloc(500_000, place)])
    response.writeHead(200, headers(bytes))
    response.write(bytes.subarray(0, 300_000))
  }, tasks)
  const caller = new AbortController()
  const answered = askToLeave(atelier, { ...body, n: 6 }, caller, wish)
  while ((await filesIn(atelier)).length < 3) await sleep(5)
  caller.abort()
  await expect(answered).rejects.toThrow()
  await all.promise
  while ((await filesIn(atelier)).length > 0) await sleep(5)
  expect([closed.sort(), paths.length]).toEqual([[0, 1, 2, 3], 4])
})

test('strict refuses to divide a request', async () => {
  const { atelier, paths } = await start((_, response) => refuse(response, 500, 'unreachable'))
  const response = await atelier.post(generations, { ...body, n: 2 }, { 'x-atelier-strict': 'true' })
  const { error } = (await response.json()) as ImagesAnswer
  expect([response.status, error?.code, paths.length]).toEqual([400, 'unsupported_parameter', 0])
})

async function start(vendor: Vendor, tasks: 'on' | 'off' = 'on') {
  const upstream = opened.use(
    await startUpstreamServer((request, response) => {
      void seedOf(request).then((seed) => vendor(seed - firstSeed, response))
    })
  )
  const environment = { STABILITY_API_KEY: 'sk-stability-0123456789abcdef', STABILITY_BASE_URL: upstream.origin }
  return { atelier: opened.use(await startAtelier({ environment, settings: { tasks } })), paths: upstream.paths }
}

async function seedOf(request: IncomingMessage): Promise<number> {
  const text = Buffer.concat(await request.toArray()).toString()
  return Number(/name="seed"\r\n\r\n(\d+)/.exec(text)?.[1])
}

function answer(response: ServerResponse, bytes: Buffer): void {
  response.writeHead(200, headers(bytes))
  response.end(bytes)
}

function headers(bytes: Buffer) {
  return { 'content-type': 'image/png', 'content-length': bytes.length, 'finish-reason': 'SUCCESS' }
}

function refuse(response: ServerResponse, status: number, name: string): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ id: 'a3f1', name, errors: ['Your request was flagged by our content moderation system.'] }))
}

/** A picture whose one colour tells its place. */
function picture(place: number): Promise<Buffer> {
  const create = { width: 64, height: 64, channels: 3 as const, background: { r: place * 20, g: 0, b: 0 } }
  return sharp({ create }).png().toBuffer()
}

async function placeIn(bytes: Uint8Array): Promise<number> {
  const [red = -1] = await sharp(bytes).extract({ left: 0, top: 0, width: 1, height: 1 }).raw().toBuffer()
  return red / 20
}

function placeOf({ b64_json = '' }: { b64_json?: string }): Promise<number> {
  return placeIn(Buffer.from(b64_json, 'base64'))
}

/** Every file that an image is in, or on its way into. */
async function filesIn({ dataDir }: TestServer): Promise<string[]> {
  const folders = await Promise.all(
    ['images', 'spool'].map((name) => readdir(join(dataDir, name), { recursive: true, withFileTypes: true }))
  )
  return folders.flat().flatMap((entry) => (entry.isFile() ? entry.name : []))
}

function askToLeave({ url, apiKey }: TestServer, asked: unknown, { signal }: AbortController, headers: Record<string, string> = {}) {
  return fetch(url + generations, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(asked),
    signal
  }).then((response) => response.arrayBuffer())
}
