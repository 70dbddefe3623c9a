import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import { needsFiles } from '../support/debian.ts'
import { download, startGateway } from '../support/gateway.ts'
import { runInProcess, startProgram } from '../support/run-atelier.ts'
import { runCommand } from '../support/run-command.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const examples = join(import.meta.dirname, '../../examples/003')
const pythonPackages = join(import.meta.dirname, '../support/python-packages')
const directory = await createTemporaryDirectory()
let receiverUrl = ''
// The gateway must be told before it starts where callbacks may go, and the receiver what they are signed with.
const front = await startCuttingProxy(() => receiverUrl)
const gateway = await startGateway({ settings: { egressAllow: [new URL(front.url).host] } })
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await front[Symbol.asyncDispose]()
  await directory[Symbol.asyncDispose]()
})

const otter = { model: 'dall-e-3', prompt: 'A cute baby sea otter' }
const revised = 'A detailed, high-quality image of the following: A cute baby sea otter'
const synchronous: Record<string, { asked: Record<string, unknown>; size: [number, number] }> = {
  'basic.sh': { asked: otter, size: [1024, 1024] },
  'basic.py': { asked: otter, size: [1024, 1024] },
  'cinematic-portrait.py': {
    asked: { model: 'gpt-image-2', prompt: expect.stringMatching(/^A cinematic portrait .* melancholic mood\.$/), size: '1024x1536' },
    size: [1024, 1536]
  }
}
const calledBack = ['callback.sh', 'callback.py', 'callback.ts']

describe.each(Object.entries(synchronous))('%s', (file, { asked, size }) => {
  test('gets the answer that the document prints', async (context) => {
    needs(context, file)
    const { code, stdout, stderr } = await run(file)
    expect([code, stderr]).toEqual([0, ''])
    const body = JSON.parse(stdout.toString())
    expect([body.success, body.task_id, Number.isInteger(body.created), body.data.length]).toEqual([
      true,
      expect.stringMatching(/^task_/),
      true,
      1
    ])
    expect(gateway.openai.requests.findLast(({ method }) => method === 'POST')?.body).toMatchObject(asked)
    const { width, height } = await sharp(await download(body.data[0].url)).metadata()
    expect([width, height]).toEqual(size)
  })
})

describe.each(calledBack)('%s', (file) => {
  test('gets the id of its task at once, and receiver.ts the result that the document prints', async (context) => {
    needs(context, file)
    await using receiver = await startReceiver(await secret())
    const { code, stdout, stderr } = await run(file, { CALLBACK_URL: front.url })
    expect([code, stderr]).toEqual([0, ''])
    const answer = JSON.parse(stdout.toString())
    expect(answer).toEqual({ task_id: expect.stringMatching(/^task_/) })
    const callback = await receiver.callback()
    expect(callback).toMatchObject({
      success: true,
      task_id: answer.task_id,
      trace_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      data: { created: expect.any(Number), data: [{ revised_prompt: revised, url: expect.stringMatching(/^http/) }] }
    })
    expect((await sharp(await download(callback.data.data[0].url)).metadata()).format).toBe('png')
  })
})

test('receiver.ts takes no callback that somebody else made up', async () => {
  await using receiver = await startReceiver('whsec_c29tZSBvdGhlciBzZWNyZXQgdGhhdCBub2JvZHkga25vd3M=')
  const made = await fetch(front.url, { method: 'POST', body: '{"success": true}' })
  expect(made.status).toBe(401)
  const { task_id } = await (
    await gateway.post('/v1/openai/images/generations', { ...otter, model: 'sketch', callback_url: front.url })
  ).json()
  await expect
    .poll(async () => (await (await gateway.get(`/v1/tasks/${task_id}`)).json()).callback.deliveries)
    .toMatchObject([{ status: 401 }])
  expect(receiver.printed()).toEqual([])
})

test('every example is one of these', async () => {
  expect((await readdir(examples)).sort()).toEqual([...Object.keys(synchronous), ...calledBack, 'receiver.ts'].sort())
})

function needs(context: Parameters<typeof needsFiles>[0], file: string): void {
  if (file.endsWith('.py')) needsFiles(context, { '/usr/bin/python3': 'python3' })
  if (file.endsWith('.sh')) needsFiles(context, { '/usr/bin/curl': 'curl' })
}

function run(file: string, environment: Record<string, string> = {}) {
  const command = file.endsWith('.py') ? '/usr/bin/python3' : file.endsWith('.sh') ? 'bash' : process.execPath
  return runCommand(command, [join(examples, file)], {
    directory: directory.path,
    environment: {
      ATELIER_URL: gateway.url,
      ATELIER_API_KEY: gateway.apiKey,
      PYTHONPATH: pythonPackages,
      PYTHONDONTWRITEBYTECODE: '1',
      ...environment
    }
  })
}

async function secret(): Promise<string> {
  const { stdout } = await runInProcess(['callback-secret'], { environment: { ATELIER_DATA_DIR: gateway.dataDir } })
  return stdout.trim()
}

/** The receiver as a process of its own, behind the address that the gateway may call. */
async function startReceiver(secret: string) {
  const receiver = startProgram([], {
    script: join(examples, 'receiver.ts'),
    directory: directory.path,
    environment: { CALLBACK_SECRET: secret, PORT: '0' }
  })
  const waiting = /^waiting for callbacks at .*port: (\d+)/m
  await expect.poll(() => receiver.stdout, { timeout: 10_000 }).toMatch(waiting)
  receiverUrl = `http://127.0.0.1:${waiting.exec(receiver.stdout)?.[1]}`
  const printed = () => {
    const lines = receiver.stdout.split('\n').filter((line) => line.startsWith('{'))
    return lines.map((line) => JSON.parse(line))
  }
  return {
    printed,
    async callback() {
      await expect.poll(() => printed().length, { timeout: 10_000 }).toBe(1)
      return printed()[0]
    },
    [Symbol.asyncDispose]: () => receiver[Symbol.asyncDispose]()
  }
}
