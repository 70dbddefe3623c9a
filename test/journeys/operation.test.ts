import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { describe, expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { Health, HealthCheckResponse_ServingStatus } from '../../gen/grpc/health/v1/health_pb.ts'
import { startAtelier } from '../support/atelier.ts'
import { startGateway } from '../support/gateway.ts'
import { type Run, runProgram, startProgram } from '../support/run-atelier.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const apiKey = 'key-of-every-caller-here'
const adminKey = 'key-of-the-operator-here'
const onFreePort = { ATELIER_LISTEN: '127.0.0.1:0', ATELIER_API_KEY: apiKey, ATELIER_ADMIN_KEY: adminKey }

/** When a caller that is not there any more stops what it asked for. */
const stopping = [
  ['wished it so', 'on', { 'x-atelier-on-disconnect': 'cancel' }],
  ['has no task', 'off', {}]
] as const

describe('SIGTERM', () => {
  test('lets requests in flight finish, over REST and gRPC, takes no new ones, and ends with 0', async () => {
    await using directory = await createTemporaryDirectory()
    await using run = startProgram([], { directory: directory.path, environment: onFreePort })
    const url = String((await run.logged('listening')).url)
    const slow = { model: 'sketch', prompt: 'slow', size: '64x64', delay_ms: 1500, response_format: 'b64_json' }
    const transport = createGrpcTransport({ baseUrl: url })
    const overRest = post(url, slow)
    const overRpc = createClient(ImageService, transport).generateImages(
      { prompt: 'slow', modelSelector: { case: 'modelName', value: 'sketch' }, providerOptions: { delay_ms: 1500 } },
      { headers: { authorization: `Bearer ${apiKey}` } }
    )
    await expect.poll(() => metric(url, 'atelier_requests_in_flight')).toBe(3)
    run.process.kill('SIGTERM')
    await run.logged('shutting down')
    await expect(fetch(`${url}/readyz`)).rejects.toThrow()
    const response = await overRest
    expect([response.status, response.headers.get('connection'), (await response.json()).data.length]).toEqual([200, 'close', 1])
    expect((await overRpc).images.length).toBe(1)
    expect(await run.exit).toBe(0)
    expect([run.stdout.includes('"msg":"stopped"'), run.stderr]).toEqual([true, ''])
  })

  test('breaks off what takes longer than the drain time, and still ends with 0', async () => {
    await using directory = await createTemporaryDirectory()
    const environment = { ...onFreePort, ATELIER_CONFIG: 'short.yaml' }
    await using run = await startWithFile(directory.path, 'short.yaml', 'limits: { drain_seconds: 1 }', environment)
    const url = String((await run.logged('listening')).url)
    const failure = post(url, { model: 'sketch', prompt: 'very slow', delay_ms: 60_000 }).then(
      () => 'answered',
      () => 'broken off'
    )
    await expect.poll(() => metric(url, 'atelier_requests_in_flight')).toBe(2)
    run.process.kill('SIGTERM')
    expect([await failure, await run.exit]).toEqual(['broken off', 0])
  })
})

test('readiness says that it shuts down, while what is in flight finishes', async () => {
  await using atelier = await startAtelier()
  const health = createClient(Health, createGrpcTransport({ baseUrl: atelier.url }))
  expect([(await fetch(`${atelier.url}/readyz`)).status, (await health.check({})).status]).toEqual([
    200,
    HealthCheckResponse_ServingStatus.SERVING
  ])
  const statuses: HealthCheckResponse_ServingStatus[] = []
  const watching = (async () => {
    for await (const { status } of health.watch({})) statuses.push(status)
  })()
  await expect.poll(() => statuses.length).toBe(1)
  const slow = atelier.post('/v1/images/generations', { model: 'sketch', prompt: 'slow', size: '64x64', delay_ms: 1000 })
  await expect.poll(() => metric(atelier.url, 'atelier_requests_in_flight', atelier.adminKey)).toBe(3)
  const drained = atelier.drain()
  await watching
  expect(statuses).toEqual([HealthCheckResponse_ServingStatus.SERVING, HealthCheckResponse_ServingStatus.NOT_SERVING])
  expect((await slow).status).toBe(200)
  await drained
})

describe('/metrics', () => {
  test('is for the admin key only', async () => {
    await using atelier = await startAtelier()
    const status = async (key?: string) =>
      (await fetch(`${atelier.url}/metrics`, key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } })).status
    expect([await status(), await status('sk-wrong'), await status(atelier.apiKey), await status(atelier.adminKey)]).toEqual([
      401, 401, 403, 200
    ])
  })

  test('the admin key makes no images', async () => {
    await using atelier = await startAtelier()
    const response = await atelier.post('/v1/images/generations', { prompt: 'a cat' }, { authorization: `Bearer ${atelier.adminKey}` })
    expect([response.status, (await response.json()).error]).toEqual([
      403,
      { message: 'this API key may not use models', type: 'permission_error', param: null, code: 'permission_denied' }
    ])
  })

  test('counts requests of every protocol by route, provider, model and outcome', async () => {
    await using gateway = await startGateway()
    await gateway.post('/v1/images/generations', { model: 'dall-e-3', prompt: 'a cat' }).then((response) => response.text())
    await gateway.post('/v1/images/generations', { model: 'dall-e-3', prompt: '[moderated]' }).then((response) => response.text())
    await gateway.post('/v1/images/generations', { model: 'made-up-by-a-caller', prompt: 'a cat' }).then((response) => response.text())
    await gateway.get('/no/such/route').then((response) => response.text())
    const images = createClient(ImageService, createGrpcTransport({ baseUrl: gateway.url }))
    await images.generateImages({ prompt: 'a cat' }, { headers: { authorization: `Bearer ${gateway.apiKey}` } })
    const counts = () =>
      metrics(gateway.url, gateway.adminKey).then((text) => text.split('\n').filter((line) => line.startsWith('atelier_requests_total{')))
    const route = '/v1/images/generations'
    await expect
      .poll(counts)
      .toEqual(
        expect.arrayContaining([
          `atelier_requests_total{route="${route}",provider="openai",model="dall-e-3",outcome="ok"} 1`,
          `atelier_requests_total{route="${route}",provider="openai",model="dall-e-3",outcome="CONTENT_POLICY_VIOLATION"} 1`,
          `atelier_requests_total{route="${route}",provider="",model="",outcome="MODEL_NOT_FOUND"} 1`,
          'atelier_requests_total{route="unknown",provider="",model="",outcome="ROUTE_NOT_FOUND"} 1',
          'atelier_requests_total{route="atelier.v1.ImageService.GenerateImages",provider="openai",model="dall-e-3",outcome="ok"} 1'
        ])
      )
  })
})

describe('the log', () => {
  test('has one line for each request, with who, what and how long, and nothing of prompt, key or image', async () => {
    const providerKey = 'sk-provider-key-that-nobody-may-read'
    await using gateway = await startGateway({ openai: { apiKey: providerKey }, environment: { OPENAI_API_KEY: providerKey } })
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const secretPrompt = 'a prompt that nobody may read'
    const response = await gateway.post(
      '/v1/images/generations',
      { model: 'gpt-image-2', prompt: secretPrompt, user: 'a secret user' },
      { traceparent }
    )
    const image = ((await response.json()) as { data: { b64_json: string }[] }).data[0]?.b64_json ?? ''
    await expect.poll(() => requestLines(gateway.logLines).length).toBe(1)
    expect(requestLines(gateway.logLines)[0]).toEqual({
      level: 30,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      msg: 'request',
      request: response.headers.get('x-request-id'),
      route: '/v1/images/generations',
      status: 200,
      outcome: 'ok',
      organization: 'default',
      key: expect.any(String),
      provider: 'openai',
      model: 'gpt-image-2',
      credential: 'platform',
      durationMs: expect.any(Number),
      bytes: expect.any(Number),
      trace: '0af7651916cd43dd8448eb211c80319c',
      task: response.headers.get('x-atelier-task-id')
    })
    await gateway.post('/v1/images/generations', { model: 'gpt-image-2', prompt: `[server-error] ${secretPrompt}` }).then((r) => r.text())
    await gateway.post('/v1/images/generations', `{"model": "gpt-image-2", "prompt": "${secretPrompt}`).then((r) => r.text())
    await gateway
      .post('/v1/images/generations', { prompt: secretPrompt }, { authorization: 'Bearer sk-a-key-that-somebody-mistyped' })
      .then((r) => r.text())
    await expect
      .poll(() => requestLines(gateway.logLines).map(({ level, outcome }) => [level, outcome]))
      .toEqual([
        [30, 'ok'],
        [40, 'PROVIDER_FAILED'],
        [30, 'MALFORMED_BODY'],
        [30, 'INVALID_API_KEY']
      ])
    const log = gateway.logLines.join('')
    const secrets = [secretPrompt, 'a secret user', gateway.apiKey, providerKey, 'mistyped', image.slice(100, 140)]
    expect(secrets.filter((secret) => log.includes(secret))).toEqual([])
  })

  test('has one line for each RPC as well', async () => {
    await using gateway = await startGateway()
    const images = createClient(ImageService, createGrpcTransport({ baseUrl: gateway.url }))
    const headers = { authorization: `Bearer ${gateway.apiKey}`, traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }
    await images.generateImages({ prompt: 'a cat' }, { headers })
    await expect
      .poll(() => requestLines(gateway.logLines))
      .toEqual([
        expect.objectContaining({
          route: 'atelier.v1.ImageService.GenerateImages',
          outcome: 'ok',
          trace: '0af7651916cd43dd8448eb211c80319c'
        })
      ])
  })
})

describe('limits', () => {
  test('above max_in_flight a request is refused with 503 and retry-after, and taken once there is room', async () => {
    await using atelier = await startAtelier({ settings: { maxInFlight: 1 } })
    const slow = atelier.post('/v1/images/generations', { model: 'sketch', prompt: 'slow', size: '64x64', delay_ms: 800 })
    await expect.poll(() => metric(atelier.url, 'atelier_requests_in_flight', atelier.adminKey)).toBe(2)
    const refused = await atelier.post('/v1/images/generations', { model: 'sketch', prompt: 'next', size: '64x64' })
    expect([
      refused.status,
      refused.headers.get('retry-after'),
      refused.headers.get('x-should-retry'),
      (await refused.json()).error
    ]).toEqual([
      503,
      '1',
      null,
      {
        message: 'the server has 1 requests in flight and accepts no more',
        type: 'service_unavailable_error',
        param: null,
        code: 'server_is_overloaded'
      }
    ])
    expect((await atelier.get('/v1/models')).status).toBe(200)
    expect((await slow).status).toBe(200)
    expect((await atelier.post('/v1/images/generations', { model: 'sketch', prompt: 'next', size: '64x64' })).status).toBe(200)
  })

  test.each(stopping)(
    'x-stainless-timeout ends a request with 504 and, where the caller %s, its upstream call with it',
    async (_, tasks, wish) => {
      await using gateway = await startGateway({ settings: { tasks } })
      const headers = { 'x-stainless-timeout': '1', ...wish }
      const response = await gateway.post('/v1/images/generations', { model: 'dall-e-3', prompt: '[hang]' }, headers)
      expect([response.status, response.headers.get('x-should-retry'), (await response.json()).error]).toEqual([
        504,
        'false',
        {
          message: expect.stringMatching(/^the image was not ready within (1|0\.9\d*) seconds$/),
          type: 'timeout_error',
          param: null,
          code: 'deadline_exceeded'
        }
      ])
      expect(await gateway.upstreamEnd('[hang]')).toBe('abandoned')
    }
  )

  test('a provider has its own time limit', async () => {
    await using gateway = await startGateway()
    await using impatient = await startAtelier({
      environment: { OPENAI_BASE_URL: gateway.openai.url },
      settings: {
        providers: [
          {
            name: 'openai',
            adapter: 'openai',
            baseUrl: gateway.openai.url,
            apiKey: 'sk-provider-0123456789abcdef',
            models: [],
            headers: {},
            maxConnections: 1,
            timeoutMs: 300
          }
        ]
      }
    })
    const response = await impatient.post('/v1/images/generations', { model: 'dall-e-3', prompt: '[hang] too long' })
    expect([response.status, (await response.json()).error.code]).toEqual([504, 'deadline_exceeded'])
    expect(await gateway.upstreamEnd('[hang] too long')).toBe('abandoned')
  })

  test.each(stopping)(
    'a client that goes away stops the upstream call, before and during the answer, where it %s',
    async (_, tasks, wish) => {
      await using gateway = await startGateway({ settings: { tasks } })
      for (const prompt of ['[hang] and go', '[hang-body] and go']) {
        const gone = new AbortController()
        const response = fetch(`${gateway.baseUrl}/images/generations`, {
          method: 'POST',
          headers: { authorization: `Bearer ${gateway.apiKey}`, 'content-type': 'application/json', ...wish },
          body: JSON.stringify({ model: 'gpt-image-2', prompt }),
          signal: gone.signal
        })
        if (prompt.startsWith('[hang-body]')) await response
        else await expect.poll(() => gateway.upstreamCalls(prompt)).toBe(1)
        gone.abort()
        await expect(response.then((arrived) => arrived.text())).rejects.toThrow(/abort/)
        expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
      }
      await expect
        .poll(() => requestLines(gateway.logLines).map(({ status, outcome }) => [status, outcome]))
        .toEqual([
          [499, 'CANCELLED'],
          [200, 'CANCELLED']
        ])
    }
  )
})

describe('the first start', () => {
  test('writes a key to a file that only this user can read, and its curl line works', async () => {
    await using directory = await createTemporaryDirectory()
    await using run = startProgram([], { directory: directory.path, environment: { ATELIER_LISTEN: '127.0.0.1:0' } })
    const url = String((await run.logged('listening')).url)
    const path = join(directory.path, 'data/first-key')
    await run.logged('created the first API key and wrote it to a file that only this user can read')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const key = (await readFile(path, 'utf8')).trim()
    const response = await post(url, { prompt: 'a cat' }, key, { accept: 'image/*' })
    expect([response.status, response.headers.get('content-type'), response.headers.get('x-atelier-warnings')]).toEqual([
      200,
      'image/png',
      'model=substituted; message="no configured provider serves the default model dall-e-3, so sketch makes the image"'
    ])
    const image = Buffer.from(await response.arrayBuffer())
    expect([image.readUInt32BE(16), image.readUInt32BE(20)]).toEqual([1024, 1024])
    expect(run.stdout.includes(key)).toBe(false)
  })

  test.each([
    ['0.0.0.0:0', {}],
    ['[::]:0', {}],
    ['0.0.0.0:0', { PORT: '0', ATELIER_LISTEN: '' }]
  ])('refuses to listen on %s without a key', async (listen, environment) => {
    await using directory = await createTemporaryDirectory()
    const { code, stdout, stderr } = await runProgram([], {
      directory: directory.path,
      environment: { ATELIER_LISTEN: listen, ...environment }
    })
    expect([code, stdout, stderr]).toEqual([
      1,
      '',
      expect.stringMatching(/^atelier: listening on \S+ needs an API key: set ATELIER_API_KEY, or make one with `atelier new-key`/)
    ])
  })

  test('listens anywhere with a key', async () => {
    await using directory = await createTemporaryDirectory()
    await using run = startProgram([], { directory: directory.path, environment: { ATELIER_LISTEN: '0.0.0.0:0', ATELIER_API_KEY: apiKey } })
    const url = String((await run.logged('listening')).url)
    expect((await post(url, { prompt: 'a cat', size: '1024x1024' })).status).toBe(200)
  })
})

async function startWithFile(directory: string, name: string, text: string, environment: Record<string, string>): Promise<Run> {
  await writeFile(join(directory, name), text)
  return startProgram([], { directory, environment })
}

function post(url: string, body: unknown, key = apiKey, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}/v1/images/generations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body)
  })
}

async function metrics(url: string, key = adminKey): Promise<string> {
  return (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${key}` } })).text()
}

/** The value of a metric without labels. The request that asks for it is in flight itself. */
async function metric(url: string, name: string, key = adminKey): Promise<number> {
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(await metrics(url, key))?.[1])
}

function requestLines(lines: readonly string[]): Record<string, unknown>[] {
  return lines.map((line) => JSON.parse(line)).filter(({ msg, route }) => msg === 'request' && route !== '/metrics')
}
