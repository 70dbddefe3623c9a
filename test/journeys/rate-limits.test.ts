import { create } from '@bufbuild/protobuf'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { RateLimitMetric, RateLimitSchema } from '../../gen/atelier/v1/rate_limit_pb.ts'
import { adminOf, connectWith, createKey, refusalOf } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { rateLimitsOf } from '../support/rate-limits.ts'

const { REQUESTS, IMAGES, MEGAPIXELS, COST, IN_FLIGHT } = RateLimitMetric

let atelier: TestServer
let organization: string
let key: { id: string; key: string }
let organizations = 0

beforeAll(async () => {
  atelier = await startAtelier({ environment: { OPENAI_API_KEY: 'sk-never-called', OPENAI_BASE_URL: 'http://127.0.0.1:1/v1' } })
})
afterAll(() => atelier[Symbol.asyncDispose]())

beforeEach(async () => {
  organization = `org-${++organizations}`
  await adminOf(atelier).createOrganization({ id: organization })
  key = await createKey(atelier, { organizationId: organization })
})

type Wanted = Parameters<ReturnType<typeof rateLimitsOf>['setRateLimit']>[0]

async function limit(amount: number, metric: RateLimitMetric, windowSeconds: number, more: Wanted = {}): Promise<string> {
  const subject = { case: 'organizationId', value: organization } as const
  const wanted = { subject, metric, amount: BigInt(amount), windowSeconds: BigInt(windowSeconds), ...more }
  return (await rateLimitsOf(atelier).setRateLimit(wanted)).rateLimit?.id ?? ''
}

function ask(body: object = {}, { as = key.key, path = '/v1/images/generations', headers = {} } = {}): Promise<Response> {
  const request = { model: 'sketch', prompt: 'a lighthouse', size: '64x64', response_format: 'b64_json', ...body }
  return atelier.post(path, request, { authorization: `Bearer ${as}`, ...headers })
}

/** Of the whole answers: a request is in flight until its answer is. */
async function statuses(...answers: Promise<Response>[]): Promise<number[]> {
  return await Promise.all(
    answers.map(async (answer) => {
      const response = await answer
      await response.text()
      return response.status
    })
  )
}

function rateLimitHeaders({ headers }: Response): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => /^x-ratelimit-|^retry-after|^x-should-retry/.test(name)))
}

describe('a request', () => {
  test('above the limit is a 429 in words that say whose limit it is, and how long to wait', async () => {
    await limit(2, REQUESTS, 3_600)
    expect(await statuses(ask(), ask())).toEqual([200, 200])
    const refused = await ask()
    expect([refused.status, await refused.json()]).toEqual([
      429,
      {
        error: {
          message: expect.stringMatching(
            new RegExp(
              `^the organization ${organization} has reached its limit of 2 requests per hour: try again in (30m0|29m5\\d(\\.\\d+)?)s$`
            )
          ),
          type: 'rate_limit_error',
          param: null,
          code: 'rate_limit_exceeded'
        }
      }
    ])
    expect(rateLimitHeaders(refused)).toEqual({
      'retry-after': '60',
      'retry-after-ms': '60000',
      'x-ratelimit-limit-requests': '2',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': expect.stringMatching(/^(1h0m0|59m5\d(\.\d+)?)s$/)
    })
  })

  test('is told the exact wait where that is less than a minute', async () => {
    await limit(1, REQUESTS, 20)
    await ask()
    const { headers } = await ask()
    expect(Number(headers.get('retry-after'))).toBeLessThanOrEqual(20)
    expect(Number(headers.get('retry-after-ms'))).toBeGreaterThan(15_000)
    expect(Number(headers.get('retry-after-ms'))).toBeLessThanOrEqual(20_000)
  })

  test('below the limits is told what is left of those for requests and images', async () => {
    await limit(10, REQUESTS, 60)
    await limit(6, IMAGES, 60)
    const answer = await ask({ n: 4 })
    expect(rateLimitHeaders(answer)).toEqual({
      'x-ratelimit-limit-requests': '10',
      'x-ratelimit-remaining-requests': '9',
      'x-ratelimit-reset-requests': expect.stringMatching(/^(6|5\.\d+)s$/),
      'x-ratelimit-limit-images': '6',
      'x-ratelimit-remaining-images': '2',
      'x-ratelimit-reset-images': expect.stringMatching(/^(40|39\.\d+)s$/)
    })
  })

  test('without a limit has no such headers', async () => {
    expect(rateLimitHeaders(await ask())).toEqual({})
  })

  test('that one limit refuses counts for no other', async () => {
    await limit(10, REQUESTS, 86_400)
    await limit(5, IMAGES, 86_400)
    expect(await statuses(ask({ n: 5 }))).toEqual([200])
    expect(await statuses(ask({ n: 5 }), ask({ n: 5 }))).toEqual([429, 429])
    expect((await ask({ n: 1 })).headers.get('x-ratelimit-remaining-requests')).toBe('9')
  })

  test('that is larger than a whole bucket is told that it can never pass', async () => {
    await limit(3, IMAGES, 60)
    const refused = await ask({ n: 4 })
    expect([refused.status, await refused.json()]).toEqual([
      400,
      {
        error: {
          message: `n: the request takes 4 images and can never pass: the organization ${organization} is limited to 3 images per minute`,
          type: 'invalid_request_error',
          param: 'n',
          code: 'invalid_value'
        }
      }
    ])
  })

  test('counts its megapixels', async () => {
    await limit(1, MEGAPIXELS, 86_400)
    const large = { size: '512x512', n: 3 }
    expect(await statuses(ask(large))).toEqual([200])
    const refused = await ask(large)
    expect([refused.status, ((await refused.json()) as { error: { message: string } }).error.message]).toEqual([
      429,
      expect.stringContaining('has reached its limit of 1 megapixel per day')
    ])
    expect(await statuses(ask({ size: '64x64' }))).toEqual([200])
  })

  test('counts what it will cost', async () => {
    await limit(100_000, COST, 86_400, { model: 'openai/*' })
    const dear = { model: 'gpt-image-1', size: '1024x1024', quality: 'high', n: 2 }
    const refused = await ask(dear)
    expect([refused.status, ((await refused.json()) as { error: { message: string } }).error.message]).toEqual([
      400,
      expect.stringMatching(/^model: the request takes \$0\.33\d* and can never pass: .* is limited to \$0\.10 per day for openai\/\*$/)
    ])
    // 0.042 USD each, and the provider is not there.
    const cheap = { ...dear, quality: 'medium', n: 1 }
    expect([await statuses(ask(cheap)), await statuses(ask(cheap)), await statuses(ask(cheap))]).toEqual([[500], [500], [429]])
  })

  test('whose cost nobody knows is refused where cost is counted', async () => {
    await limit(100_000, COST, 60)
    const refused = await ask({ model: 'openai/a-model-of-my-own' })
    expect([refused.status, ((await refused.json()) as { error: { message: string } }).error.message]).toEqual([
      400,
      expect.stringContaining('model: cannot be used with a rate limit that counts cost: no price is known')
    ])
  })

  test('counts alike on every route, in the background and by RPC, and an estimate counts nowhere', async () => {
    await limit(5, REQUESTS, 86_400)
    await ask({}, { path: '/v1/images/estimate' })
    expect(await statuses(ask({}, { path: '/openai/images/generations' }))).toEqual([200])
    expect(await statuses(ask({}, { headers: { prefer: 'respond-async' } }))).toEqual([202])
    expect(await statuses(ask({ stream: true, partial_images: 0 }))).toEqual([200])
    const request = { prompt: 'x', modelSelector: { case: 'modelName', value: 'sketch' } as const }
    const images = createClient(ImageService, connectWith(atelier.url, key.key))
    const headers: string[] = []
    await images.generateImages(request, { onHeader: (answer) => headers.push(answer.get('x-ratelimit-remaining-requests') ?? '') })
    for await (const _ of images.streamGenerateImages(
      { request },
      { onHeader: (answer) => headers.push(answer.get('x-ratelimit-remaining-requests') ?? '') }
    )) {
      // Read to its end.
    }
    expect(headers).toEqual(['1', '0'])
    expect(await statuses(ask(), ask({}, { path: '/v1/openai/images/generations' }), ask({ stream: true }))).toEqual([429, 429, 429])
    const error: unknown = await images.generateImages(request).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ConnectError)
    const { code, metadata } = error as ConnectError
    expect([Code[code], metadata.get('x-ratelimit-limit-requests'), metadata.get('grpc-retry-pushback-ms')]).toEqual([
      'ResourceExhausted',
      '5',
      '60000'
    ])
  })

  test('is told of its limits over gRPC too', async () => {
    await limit(1, REQUESTS, 86_400)
    const transport = createGrpcTransport({
      baseUrl: atelier.url,
      interceptors: [
        (next) => (request) => {
          request.header.set('authorization', `Bearer ${key.key}`)
          return next(request)
        }
      ]
    })
    const images = createClient(ImageService, transport)
    const request = { prompt: 'x', modelSelector: { case: 'modelName', value: 'sketch' } as const }
    await images.generateImages(request)
    const error: unknown = await images.generateImages(request).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: Code.ResourceExhausted })
    expect((error as ConnectError).metadata.get('x-ratelimit-remaining-requests')).toBe('0')
  })
})

describe('a limit', () => {
  test('of an organization is shared by its keys and by nobody else', async () => {
    await limit(2, REQUESTS, 86_400)
    const second = await createKey(atelier, { organizationId: organization })
    expect(await statuses(ask(), ask({}, { as: second.key }))).toEqual([200, 200])
    expect(await statuses(ask(), ask({}, { as: second.key }), ask({}, { as: atelier.apiKey }))).toEqual([429, 429, 200])
  })

  test('of a key is for that key alone, beside the limit of its organization', async () => {
    await limit(1, REQUESTS, 86_400, { subject: { case: 'apiKeyId', value: key.id } })
    await limit(3, REQUESTS, 86_400)
    const second = await createKey(atelier, { organizationId: organization })
    const first = await ask()
    expect([first.status, first.headers.get('x-ratelimit-limit-requests')]).toEqual([200, '1'])
    const refused = await ask()
    expect([refused.status, ((await refused.json()) as { error: { message: string } }).error.message]).toEqual([
      429,
      expect.stringContaining(`the API key ${key.id} has reached its limit of 1 request per day`)
    ])
    expect([await statuses(ask({}, { as: second.key })), await statuses(ask({}, { as: second.key }))]).toEqual([[200], [200]])
    expect(await statuses(ask({}, { as: second.key }))).toEqual([429])
  })

  test('of a model is for what serves under that name, however the caller writes it', async () => {
    await limit(1, REQUESTS, 86_400, { model: 'sketch/*' })
    expect(await statuses(ask({ model: 'sketch' }))).toEqual([200])
    expect(await statuses(ask({ model: 'sketch/sketch' }))).toEqual([429])
    expect(await statuses(ask({ model: 'openai/dall-e-3', size: '1024x1024' }))).toEqual([500])
  })

  test('of requests in flight lets the next one in when one is over, also when its caller goes away', async () => {
    await limit(1, IN_FLIGHT, 0)
    const leaving = new AbortController()
    const slow = {
      method: 'POST',
      headers: { authorization: `Bearer ${key.key}`, 'content-type': 'application/json' },
      signal: leaving.signal
    }
    const stream = await fetch(`${atelier.url}/v1/images/generations`, {
      ...slow,
      body: JSON.stringify({ model: 'sketch', prompt: 'a large one', size: '4096x4096', n: 10, stream: true, partial_images: 3 })
    })
    expect(stream.status).toBe(200)
    const refused = await ask()
    expect([
      refused.status,
      refused.headers.get('retry-after'),
      ((await refused.json()) as { error: { message: string } }).error.message
    ]).toEqual([429, '1', `the organization ${organization} has reached its limit of 1 request in flight: try again in 1s`])
    leaving.abort()
    await stream.body?.cancel().catch(() => undefined)
    await expect.poll(() => statuses(ask()), { timeout: 5_000 }).toEqual([200])
    expect(await statuses(ask())).toEqual([200])
    expect(await statuses(ask({ n: 99 }))).toEqual([400])
    expect(await statuses(ask())).toEqual([200])
  })

  test('of requests in flight is let go of by what a server without tasks refuses', async () => {
    await using server = await startAtelier({ settings: { tasks: 'off' } })
    const subject = { case: 'organizationId', value: 'default' } as const
    await rateLimitsOf(server).setRateLimit({ subject, metric: IN_FLIGHT, amount: 1n })
    const request = { model: 'sketch', prompt: 'a lighthouse', size: '64x64' }
    const named = await server.post('/v1/images/generations', request, { 'idempotency-key': 'once' })
    expect([named.status, (await server.post('/v1/images/generations', request)).status]).toEqual([400, 200])
  })

  test('is changed, listed and deleted while it is used', async () => {
    const id = await limit(1, REQUESTS, 86_400)
    expect([await statuses(ask()), await statuses(ask())]).toEqual([[200], [429]])
    expect(await limit(2, REQUESTS, 86_400)).toBe(id)
    const other = await limit(5, IMAGES, 60, { subject: { case: 'apiKeyId', value: key.id }, model: 'sketch' })
    const { rateLimits, nextPageToken } = await rateLimitsOf(atelier).listRateLimits({ organizationId: organization })
    const common = { organizationId: organization, createdAt: expect.any(BigInt) }
    expect([rateLimits.toSorted((one, another) => one.metric - another.metric), nextPageToken]).toEqual([
      [
        { ...create(RateLimitSchema, { id, metric: REQUESTS, amount: 2n, windowSeconds: 86_400n }), ...common },
        {
          ...create(RateLimitSchema, { id: other, apiKeyId: key.id, metric: IMAGES, amount: 5n, windowSeconds: 60n, model: 'sketch' }),
          ...common
        }
      ],
      ''
    ])
    const { rateLimits: ofKey } = await rateLimitsOf(atelier).listRateLimits({ apiKeyId: key.id })
    expect(ofKey.map((found) => found.id)).toEqual([other])
    await rateLimitsOf(atelier).deleteRateLimit({ id })
    expect(await statuses(ask(), ask(), ask())).toEqual([200, 200, 200])
    expect(await refusalOf(rateLimitsOf(atelier).deleteRateLimit({ id }))).toEqual(['NotFound', `there is no rate limit '${id}'`])
  })

  test('is listed in pages', async () => {
    const ids = [await limit(1, REQUESTS, 60), await limit(1, REQUESTS, 61), await limit(1, REQUESTS, 62)]
    const first = await rateLimitsOf(atelier).listRateLimits({ organizationId: organization, pageSize: 2 })
    const second = await rateLimitsOf(atelier).listRateLimits({ organizationId: organization, pageSize: 2, pageToken: first.nextPageToken })
    expect([first.rateLimits.length, second.nextPageToken]).toEqual([2, ''])
    expect([...first.rateLimits, ...second.rateLimits].map(({ id }) => id).sort()).toEqual(ids.sort())
  })
})

test.each<[Wanted, string, string]>([
  [{ metric: REQUESTS, amount: 1n, windowSeconds: 60n }, 'InvalidArgument', "missing required parameter: 'organization_id'"],
  [
    { subject: { case: 'organizationId', value: 'nobody' }, metric: REQUESTS, amount: 1n, windowSeconds: 60n },
    'NotFound',
    "there is no organization 'nobody'"
  ],
  [
    { subject: { case: 'apiKeyId', value: 'nothing!' }, metric: REQUESTS, amount: 1n, windowSeconds: 60n },
    'NotFound',
    "there is no API key 'nothing!'"
  ],
  [
    { subject: { case: 'organizationId', value: 'default' }, metric: REQUESTS, amount: 1n },
    'InvalidArgument',
    "missing required parameter: 'window_seconds'"
  ],
  [
    { subject: { case: 'organizationId', value: 'default' }, metric: IN_FLIGHT, amount: 1n, windowSeconds: 60n },
    'InvalidArgument',
    'window_seconds: must be 0 for requests in flight, which are counted at every moment'
  ],
  [
    { subject: { case: 'organizationId', value: 'default' }, metric: MEGAPIXELS, amount: 2_000_000_000n, windowSeconds: 60n },
    'InvalidArgument',
    'amount: must be at most 1000000000 megapixels'
  ]
])('a limit such as %o is refused', async (wanted, code, message) => {
  expect(await refusalOf(rateLimitsOf(atelier).setRateLimit(wanted))).toEqual([code, message])
})
