import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type FakeOpenAI, startFakeOpenAI } from '../support/fake-openai.ts'
import { download } from '../support/gateway.ts'
import { plainImage } from '../support/input-images.ts'
import { type Run, runProgram, startProgram } from '../support/run-atelier.ts'
import { generations, type RestTask, readTask, submit } from '../support/task-client.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const apiKey = 'key-of-every-caller-here'
const openai: FakeOpenAI = await startFakeOpenAI({ slowMs: 1500 })
afterAll(() => openai[Symbol.asyncDispose]())

const environment = {
  ATELIER_LISTEN: '127.0.0.1:0',
  ATELIER_API_KEY: apiKey,
  OPENAI_API_KEY: 'sk-provider-0123456789abcdef',
  OPENAI_BASE_URL: openai.url
}

test('a second server on the same data directory is refused, and the first one goes on', async () => {
  await using directory = await createTemporaryDirectory()
  await using first = await start(directory.path)
  const { code, stdout, stderr } = await runProgram([], { directory: directory.path, environment })
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toMatch(/^atelier: .*another (server|process).*\n$/)
  const { id } = await submit(first.server, { model: 'sketch', prompt: 'still here', size: '64x64' })
  expect((await readTask(first.server, id)).status).toBe('succeeded')
})

describe('SIGTERM', () => {
  test('lets a background task finish that runs, and leaves one that waits to the next process', async () => {
    await using directory = await createTemporaryDirectory()
    await writeFile(join(directory.path, 'atelier.yaml'), 'limits: { max_running_tasks: 1 }\n')
    await using first = await start(directory.path)
    const running = await submit(first.server, { model: 'dall-e-3', prompt: '[slow] at the end' })
    await expect.poll(() => callsFor('[slow] at the end')).toBe(1)
    const waiting = await submit(first.server, { model: 'dall-e-3', prompt: 'after the restart' })
    first.run.process.kill('SIGTERM')
    expect(await first.run.exit).toBe(0)
    expect(callsFor('after the restart')).toBe(0)

    await using second = await start(directory.path)
    for (const { id } of [running, waiting]) {
      const task = await readTask(second.server, id)
      expect([task.status, task.attempts.length]).toEqual(['succeeded', 1])
      expect((await download(task.result?.data[0]?.url)).length).toBeGreaterThan(1000)
    }
    expect([callsFor('[slow] at the end'), callsFor('after the restart')]).toEqual([1, 1])
  })
})

test('a background edit that waits in the queue keeps its images over a crash', async () => {
  await using directory = await createTemporaryDirectory()
  await writeFile(join(directory.path, 'atelier.yaml'), 'limits: { max_running_tasks: 1 }\n')
  await using first = await start(directory.path)
  const busy = await submit(first.server, { model: 'sketch', prompt: 'in front', size: '64x64', delay_ms: 2_000 })
  const { bytes: image } = await plainImage('red')
  const form = new FormData()
  for (const [name, value] of Object.entries({ model: 'gpt-image-2', prompt: 'a hat, later' })) form.append(name, value)
  form.append('image', new File([new Uint8Array(image)], 'cat.png', { type: 'image/png' }))
  const response = await first.server.postForm('/v1/images/edits', form, { prefer: 'respond-async' })
  const { id, status, operation } = (await response.json()) as RestTask
  expect([response.status, status, operation]).toEqual([202, 'queued', 'edit'])
  expect(await readdir(join(directory.path, 'data/uploads'))).toEqual([])
  await kill(first.run)

  await using second = await start(directory.path)
  expect((await readTask(second.server, busy.id)).status).toBe('succeeded')
  const task = await readTask(second.server, id)
  expect([task.status, task.parameters.prompt]).toEqual(['succeeded', 'a hat, later'])
  const [asked] = openai.requests.filter(({ body }) => body?.prompt === 'a hat, later')
  expect(asked?.files.map(({ bytes }) => Buffer.from(bytes).equals(image))).toEqual([true])
  expect((await download(task.result?.data[0]?.url)).length).toBeGreaterThan(1000)
})

describe('a crash while the provider works', () => {
  test('ends the task as interrupted: it may have been billed, and is not sent again', async () => {
    await using directory = await createTemporaryDirectory()
    await using second = await crashWith(directory.path, '[hang] interrupted', {})
    const task = await readTask(second.server, second.id)
    expect(task).toMatchObject({
      status: 'interrupted',
      error: { code: 'outcome_unknown' },
      retryable: false,
      may_be_billed: true,
      attempts: [{ status: 'unknown' }]
    })
    expect(callsFor('[hang] interrupted')).toBe(1)
  })

  test('has it sent again where the request said that buying twice is better than not at all', async () => {
    await using directory = await createTemporaryDirectory()
    const prompt = '[slow] bought again'
    await using second = await crashWith(directory.path, prompt, { 'x-atelier-on-interrupt': 'retry' })
    const task = await readTask(second.server, second.id)
    expect([task.status, task.attempts.map(({ ordinal, status }) => [ordinal, status])]).toEqual([
      'succeeded',
      [
        [0, 'unknown'],
        [1, 'succeeded']
      ]
    ])
    expect(callsFor(prompt)).toBe(2)
  })

  test('has the built-in renderer asked again: that costs nothing', async () => {
    await using directory = await createTemporaryDirectory()
    await using first = await start(directory.path)
    const { id } = await submit(first.server, { model: 'sketch', prompt: 'again', size: '64x64', delay_ms: 2_000 })
    await expect.poll(async () => (await readTask(first.server, id, { wait: 0 })).attempts.length).toBe(1)
    await kill(first.run)
    await using second = await start(directory.path)
    expect((await readTask(second.server, id)).status).toBe('succeeded')
  })

  test('gives a caller who repeats the request under its key the same unknown outcome', async () => {
    await using directory = await createTemporaryDirectory()
    await using first = await start(directory.path)
    const body = { model: 'dall-e-3', prompt: '[hang] keyed and crashed' }
    const headers = { 'idempotency-key': 'crashed' }
    const lost = first.server.post(generations, body, headers).catch(() => 'lost')
    await expect.poll(() => callsFor(body.prompt)).toBe(1)
    await kill(first.run)
    expect(await lost).toBe('lost')
    await using second = await start(directory.path)
    const again = await second.server.post(generations, body, headers)
    expect([again.status, (await again.json()).error.code, again.headers.get('x-should-retry')]).toEqual([500, 'outcome_unknown', 'false'])
    expect(callsFor(body.prompt)).toBe(1)
  })
})

/** Starts a server, kills it while the provider works on a background task, and starts another one. */
async function crashWith(directory: string, prompt: string, headers: Record<string, string>) {
  await using first = await start(directory)
  const { id } = await submit(first.server, { model: 'dall-e-3', prompt }, headers)
  await expect.poll(() => callsFor(prompt)).toBe(1)
  await kill(first.run)
  return { ...(await start(directory)), id }
}

async function kill(run: Run): Promise<void> {
  run.process.kill('SIGKILL')
  await run.exit
}

async function start(directory: string) {
  const run = startProgram([], { directory, environment })
  const url = String((await run.logged('listening')).url)
  const authorized = (headers: Record<string, string> = {}) => ({ authorization: `Bearer ${apiKey}`, ...headers })
  const server = {
    post: (path: string, body: unknown, headers?: Record<string, string>) =>
      fetch(url + path, {
        method: 'POST',
        headers: authorized({ 'content-type': 'application/json', ...headers }),
        body: JSON.stringify(body)
      }),
    postForm: (path: string, body: FormData, headers: Record<string, string>) =>
      fetch(url + path, { method: 'POST', headers: authorized(headers), body }),
    get: (path: string) => fetch(url + path, { headers: authorized() })
  }
  return { run, server, [Symbol.asyncDispose]: () => run[Symbol.asyncDispose]() }
}

function callsFor(prompt: string): number {
  return openai.requests.filter(({ body }) => body?.prompt === prompt).length
}
