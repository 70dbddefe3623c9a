import { createHmac } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from '@connectrpc/connect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ModerationFailure } from '../../gen/atelier/v1/content_policy_pb.ts'
import { ContentPolicyService } from '../../gen/atelier/v1/content_policy_service_pb.ts'
import { CredentialService } from '../../gen/atelier/v1/credential_service_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import { adminOf, connectWith, createKey } from '../support/admin.ts'
import { startCallbackReceiver } from '../support/callback-receiver.ts'
import { canary, findCanaries, readEveryFile, readEveryRow, type Written } from '../support/canary.ts'
import { startFakeModeration } from '../support/fake-moderation.ts'
import { type FakeOpenAI, startFakeOpenAI } from '../support/fake-openai.ts'
import { boundary, formBody } from '../support/form.ts'
import { plainImage } from '../support/input-images.ts'
import { type Run, runProgram, startProgram } from '../support/run-atelier.ts'
import { startSharedStorage } from '../support/shared-storage.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const generations = '/v1/images/generations'

/** Ways in which a provider fails; the words make it repeat the key that it was called with, and the prompt. */
const failures = [
  '[echo 400]',
  '[echo 401]',
  '[echo 402]',
  '[echo 403]',
  '[echo 404]',
  '[echo 422]',
  '[echo 500]',
  '[echo 200]',
  '[echo redirect]',
  '[echo in html]',
  '[moderated]',
  '[server-error]',
  '[bad-gateway]',
  '[malformed]',
  '[truncated]',
  '[reset]',
  '[stream-error]'
]

describe.each(['SQLite', 'PostgreSQL'])('on %s', (engine) => {
  const parts = new AsyncDisposableStack()
  /** Never in anything that leaves the server, but in requests to their owners. */
  const secrets = {
    'the API key of the configuration': canary('api-key'),
    'the admin key': canary('admin-key'),
    "the platform's provider key": canary('platform-key'),
    "the organization's provider key": canary('organization-key'),
    "the request's own provider key": canary('request-key'),
    'the key of the moderation endpoint': canary('moderation-key')
  }
  /** What callers may see again, and nobody else. */
  const contents = { 'the prompt': canary('prompt'), 'the revised prompt': canary('revised'), 'the callback URL': canary('callback') }
  const prompt = `a lighthouse ${contents['the prompt']}`
  const answers: Written[] = []
  let every: Record<string, string>
  let openai: FakeOpenAI
  let server: Run
  let url: string
  let dataDir: string
  let metrics: string
  let readStored: () => Promise<Written[]>

  beforeAll(async () => {
    const directory = parts.use(await createTemporaryDirectory())
    const receiver = parts.use(await startCallbackReceiver({ [`/refused/${contents['the callback URL']}`]: { status: 500 } }))
    const moderation = parts.use(await startFakeModeration({ apiKey: 'another one' }))
    openai = parts.use(await startFakeOpenAI({ answer: echo }))
    const storage = engine === 'SQLite' ? undefined : parts.use(await startSharedStorage())
    const masterKey = createHmac('sha256', 'canary').update(canary('master-key')).digest()
    dataDir = join(directory.path, 'data')
    await writeFile(
      join(directory.path, 'atelier.yaml'),
      `egress:\n  allow: ["127.0.0.1:${receiver.port}", "127.0.0.1:${moderation.port}"]\n`
    )
    const environment: Record<string, string> = {
      ATELIER_LISTEN: '127.0.0.1:0',
      ATELIER_DATA_DIR: dataDir,
      ATELIER_LOG_LEVEL: 'trace',
      ATELIER_API_KEY: secrets['the API key of the configuration'],
      ATELIER_ADMIN_KEY: secrets['the admin key'],
      ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true',
      OPENAI_API_KEY: secrets["the platform's provider key"],
      OPENAI_BASE_URL: openai.url,
      ...storage?.environment,
      ATELIER_MASTER_KEY: masterKey.toString('base64')
    }
    server = parts.use(startProgram([], { directory: directory.path, environment }))
    url = String((await server.logged('listening')).url)
    const adminKey = secrets['the admin key']
    const admin = adminOf({ url, adminKey })
    await admin.createOrganization({ id: 'acme', name: 'Acme Ltd' })
    const created = await createKey({ url, adminKey }, { organizationId: 'acme' })
    const credentials = createClient(CredentialService, connectWith(url, adminKey))
    await credentials.setCredential({ organizationId: 'acme', provider: 'openai', secret: secrets["the organization's provider key"] })
    await createClient(ContentPolicyService, connectWith(url, adminKey)).setContentPolicy({
      organizationId: 'acme',
      blockedPatterns: ['nobody-says-this'],
      moderation: { url: moderation.url, key: secrets['the key of the moderation endpoint'], onFailure: ModerationFailure.OPEN }
    })
    const { stdout } = await runProgram(['callback-secret'], { directory: directory.path, environment })
    const signingSecret = stdout.trim()
    every = {
      ...secrets,
      ...contents,
      'an API key that was created': created.key,
      'the master key': masterKey.toString('latin1'),
      'the master key as it is written': environment.ATELIER_MASTER_KEY ?? '',
      'the secret that callbacks are signed with': signingSecret.replace('whsec_', ''),
      'that secret as bytes': Buffer.from(signingSecret.replace('whsec_', ''), 'base64').toString('latin1')
    }
    readStored = async () => [
      ...(await readEveryFile(dataDir)),
      ...(storage ? await readEveryRow(storage.environment.DATABASE_URL ?? '') : [])
    ]

    const callers = [
      { authorization: `Bearer ${secrets['the API key of the configuration']}` },
      { authorization: `Bearer ${created.key}` },
      {
        authorization: `Bearer ${secrets['the API key of the configuration']}`,
        'x-portkey-provider': 'openai',
        'x-portkey-api-key': secrets["the request's own provider key"]
      }
    ]
    for (const headers of callers) await callEveryWay(headers, `http://127.0.0.1:${receiver.port}`)
    await callWithoutRight()
    // A callback that was refused stays, to be tried again.
    await receiver.waitFor(`/done/${contents['the callback URL']}`, callers.length)
    await receiver.waitFor(`/refused/${contents['the callback URL']}`, callers.length)
    for (const method of ['listCredentials', 'listOrganizations', 'listApiKeys'] as const) {
      const client = method === 'listCredentials' ? credentials : admin
      answers.push(
        written(method, JSON.stringify(await (client as never as Record<string, (request: object) => object>)[method]?.({}), toText))
      )
    }
    metrics = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${adminKey}` } })).text()
  }, 120_000)
  afterAll(() => parts.disposeAsync())

  /** Repeats everything that it was told where the prompt asks for that; else makes an image. */
  function echo({ headers, text, body }: { headers: object; text: string; body: { prompt?: unknown } | undefined }) {
    const [, word = ''] = /\[echo ([^\]]+)\]/.exec(String(body?.prompt)) ?? []
    if (word === '') return undefined
    const message = `Incorrect API key provided: ${JSON.stringify(headers)} for ${text} ${contents['the revised prompt']}`
    const error = { error: { message, type: 'invalid_request_error', param: `prompt ${contents['the prompt']}`, code: 'echo' } }
    if (word === 'redirect')
      return { status: 307, headers: { location: `/elsewhere?${encodeURIComponent(message)}` }, body: Buffer.from(message) }
    if (word === 'in html') return { status: 502, headers: { 'content-type': 'text/html' }, body: Buffer.from(`<pre>${message}</pre>`) }
    return { status: Number(word), headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(error)) }
  }

  async function callEveryWay(headers: Record<string, string>, receiver: string): Promise<void> {
    const picture = (await plainImage('teal')).bytes
    const request = { model: 'dall-e-3', prompt, size: '1024x1024' }
    const tokens = contents['the callback URL']
    const post = (path: string, body: object, more: Record<string, string> = {}) =>
      ask(path, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers, ...more } })
    await post(generations, request)
    await post(generations, { ...request, response_format: 'b64_json' }, { 'idempotency-key': `order ${tokens}` })
    await post(generations, { ...request, model: 'gpt-image-1', stream: true, partial_images: 1 })
    await post(generations, { ...request, model: 'sketch' })
    await post(generations, { ...request, callback_url: `${receiver}/done/${tokens}` })
    await post(generations, { ...request, callback_url: `${receiver}/refused/${tokens}` })
    await post(generations, { ...request, callback_url: `http://10.0.0.1/${tokens}` })
    const { id } = JSON.parse(await post(generations, request, { prefer: 'respond-async' }))
    await ask(`/v1/tasks/${id}?wait=20`, { headers })
    await ask(`/v1/tasks/${id}`, { method: 'DELETE', headers })
    await ask('/v1/tasks', { headers })
    await post('/v1/openai/images/generations', { ...request, callback_url: `${receiver}/done-too/${tokens}` })
    await post('/v1/images/estimate', request)
    const editing = { model: 'gpt-image-1', prompt, images: [{ image_url: `data:image/png;base64,${picture.toString('base64')}` }] }
    await post('/v1/images/edits', editing)
    const form = formBody([
      { name: 'image', filename: `${contents['the prompt']}.png`, type: 'image/png', content: picture },
      { name: 'prompt', content: prompt },
      { name: 'model', content: 'gpt-image-1' }
    ])
    const type = { ...headers, 'content-type': `multipart/form-data; boundary=${boundary}` }
    await ask('/v1/images/edits', { method: 'POST', headers: type, body: form })
    await ask('/v1/images/variations', { method: 'POST', headers: type, body: form })
    for (const failure of failures) {
      await post(generations, { ...request, prompt: `${prompt} ${failure}` })
      await post(generations, { ...request, model: 'gpt-image-1', prompt: `${prompt} ${failure}`, stream: true })
    }
    // What is wrong with a request is told with its own words.
    await post(generations, { ...request, size: contents['the prompt'], quality: contents['the prompt'] })
    await post(generations, { ...request, [contents['the prompt']]: 1 }, { 'x-atelier-strict': 'true' })
    await ask(generations, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: `{"prompt": "${prompt}` })
    const transport = connectWith(url, headers.authorization?.replace('Bearer ', ''))
    const { authorization: _, ...others } = headers
    const images = createClient(ImageService, transport)
    const tasks = createClient(TaskService, transport)
    for (const failure of ['', '[echo 401]', '[echo 500]', '[reset]']) {
      const message = { prompt: `${prompt} ${failure}`, modelSelector: { case: 'modelName' as const, value: 'gpt-image-1' } }
      await told(images.generateImages(message, { headers: others }))
      await told(Array.fromAsync(images.streamGenerateImages({ request: message }, { headers: others })))
      await told(tasks.createTask({ request: { case: 'generation', value: message } } as never, { headers: others }))
    }
    await told(tasks.listTasks({}))
  }

  /** Keys in the wrong places, and wrong ones. */
  async function callWithoutRight(): Promise<void> {
    const requestKey = secrets["the request's own provider key"]
    const attempts: Record<string, string>[] = [
      { authorization: `Bearer ${requestKey}` },
      { authorization: `Basic ${Buffer.from(`user:${requestKey}`).toString('base64')}` },
      { authorization: requestKey },
      { 'api-key': requestKey },
      { 'x-api-key': requestKey },
      { 'x-portkey-provider': 'openai', 'x-portkey-api-key': requestKey },
      { authorization: `Bearer ${secrets['the admin key']}` }
    ]
    for (const headers of attempts) {
      await ask(generations, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ prompt })
      })
      await ask(`/v1/tasks?key=${requestKey}`, { headers })
    }
    await ask(`/no/such/${contents['the callback URL']}`, {})
    await ask(`/images/${contents['the callback URL']}.png`, {})
  }

  async function ask(path: string, init: RequestInit): Promise<string> {
    const response = await fetch(url + path, { redirect: 'manual', ...init })
    const body = await response.text()
    answers.push(written(`the answer ${response.status} of ${path}`, `${JSON.stringify([...response.headers])}\n${body}`))
    return body
  }

  /** What a caller over RPC is told, be it an error. */
  async function told(answer: Promise<unknown>): Promise<void> {
    const outcome = await answer.catch((error: { rawMessage: string; metadata: Headers; details: unknown[] }) => ({
      message: error.rawMessage,
      headers: [...error.metadata],
      details: error.details
    }))
    answers.push(written('an answer over RPC', JSON.stringify(outcome, toText)))
  }

  test('everything was pushed through', () => {
    const seen = openai.requests.map(({ headers, text }) => `${headers.authorization} ${text}`).join('\n')
    for (const name of ["the platform's provider key", "the organization's provider key", "the request's own provider key"] as const) {
      expect([name, seen.includes(secrets[name])]).toEqual([name, true])
    }
    expect(seen).toContain(contents['the prompt'])
    const all = Buffer.concat(answers.map(({ bytes }) => bytes)).toString()
    expect(findCanaries(contents, answers).length).toBeGreaterThan(20)
    for (const status of [200, 202, 400, 401, 403, 404, 500]) {
      expect([status, answers.some(({ where }) => where.includes(`answer ${status} `))]).toEqual([status, true])
    }
    expect(all).toContain('invalid_api_key')
  })

  test('no secret is in an answer or an error, not even where the provider repeats it', () => {
    const { 'the prompt': _, 'the revised prompt': __, 'the callback URL': ___, ...never } = every
    expect(findCanaries(never, answers)).toEqual([])
  })

  test('nothing is in the log, in what the process prints, or in the metrics', () => {
    expect(server.stdout.split('\n').length).toBeGreaterThan(200)
    expect(server.stdout).toContain('"organization":"acme"')
    const printed = [written('standard output', server.stdout), written('standard error', server.stderr), written('metrics', metrics)]
    expect(findCanaries(every, printed)).toEqual([])
  })

  test('nothing is in the database or in any other file, while the server runs and after it was killed', async () => {
    const running = await readStored()
    // What is there in clear is found.
    expect(findCanaries({ name: 'Acme Ltd' }, running).length).toBeGreaterThan(0)
    expect(findCanaries(every, running)).toEqual([])
    await server[Symbol.asyncDispose]()
    expect(findCanaries(every, await readStored())).toEqual([])
    // What was committed last stands in the log beside the database.
    if (engine === 'SQLite') expect((await readFile(join(dataDir, 'atelier.db-wal'))).length).toBeGreaterThan(10_000)
  })
})

test('what is looked for is found in every form that it may have', () => {
  const secret = canary('found')
  const bytes = Buffer.from(secret)
  const places = ['', 'x', 'xy', 'xyz'].flatMap((before) => {
    const whole = Buffer.concat([Buffer.from(before), bytes, Buffer.from('after')])
    return [whole, Buffer.from(whole.toString('hex')), Buffer.from(whole.toString('base64')), Buffer.from(whole.toString('base64url'))]
  })
  const found = places.map((place, index) => findCanaries({ secret }, [{ where: `place ${index}`, bytes: place }]).length)
  expect(found.filter((count) => count === 0)).toEqual([])
})

function written(where: string, text: string): Written {
  return { where, bytes: Buffer.from(text) }
}

function toText(_: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  return value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value
}
