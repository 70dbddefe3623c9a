import { expect, test } from 'vitest'
import { createModerate, type ModerationEndpoint } from '../../../src/admission/content/moderate.ts'
import { GatewayError } from '../../../src/errors.ts'
import { createUntrustedUrlFetcher } from '../../../src/upstream/untrusted-url.ts'
import { type ModerationTrouble, startFakeModeration } from '../../support/fake-moderation.ts'
import { startUpstreamServer } from '../../support/upstream-server.ts'

const apiKey = 'sk-moderation-0123456789'
const signal = new AbortController().signal

test('asks as OpenAI documents it, and hears that nothing was flagged', async () => {
  await using moderation = await startFakeModeration({ apiKey })
  expect(await ask(moderation.url, 'a cat in a hat')).toBeUndefined()
  expect(moderation.asked).toEqual([
    {
      input: 'a cat in a hat',
      model: 'omni-moderation-latest',
      headers: {
        host: new URL(moderation.url).host,
        connection: 'close',
        authorization: `Bearer ${apiKey}`,
        'content-type': 'application/json',
        accept: 'application/json',
        'content-length': '59'
      }
    }
  ])
})

test('hears which categories were flagged', async () => {
  await using moderation = await startFakeModeration({ apiKey })
  expect(await ask(moderation.url, 'Violence and hate')).toEqual({ categories: ['hate', 'violence'] })
})

test('sends neither a key nor a model where there is none', async () => {
  await using moderation = await startFakeModeration()
  const endpoint = { url: moderation.url, model: '', timeoutMs: 5_000 }
  await using fetcher = fetcherFor(moderation.url)
  expect(await createModerate({ fetcher })('a cat', endpoint, signal)).toBeUndefined()
  expect([moderation.asked[0]?.model, moderation.asked[0]?.headers.authorization]).toEqual([undefined, undefined])
})

test.each<[ModerationTrouble, string, boolean, number | undefined]>([
  ['rate limited', 'it answered with status 429', true, 7_000],
  ['overloaded', 'it answered with status 500', true, 1_000],
  ['silent', 'it takes longer than 0.2 seconds', true, 1_000],
  ['broken', 'its answer is no moderation result', true, 1_000],
  ['cut off', 'its answer is no moderation result', true, 1_000],
  ['not JSON', 'its answer is no moderation result', true, 1_000],
  ['empty', 'its answer is no moderation result', true, 1_000],
  ['redirect', 'it answered with status 307', false, undefined]
])('takes an endpoint that is %s for one without an answer', async (trouble, problem, retryable, retryAfterMs) => {
  await using moderation = await startFakeModeration({ apiKey })
  moderation.trouble = trouble
  expect(await failureOf(ask(moderation.url, 'a cat', { timeoutMs: 200 }))).toEqual({ problem, retryable, retryAfterMs })
})

test('takes an endpoint that refuses the key for one without an answer, and repeats nothing of what that says', async () => {
  await using moderation = await startFakeModeration({ apiKey: 'another one' })
  const failure = await ask(moderation.url, 'a cat').catch((error: unknown) => error)
  expect(await failureOf(Promise.reject(failure))).toEqual({
    problem: 'it answered with status 401',
    retryable: false,
    retryAfterMs: undefined
  })
  expect(JSON.stringify(failure)).not.toContain(apiKey)
})

test.each([
  ['https://nowhere.invalid/v1/moderations', 'it cannot be reached', true],
  ['http://127.0.0.1:9/v1/moderations', 'its address may not be called', false],
  ['http://169.254.169.254/v1/moderations', 'its address may not be called', false]
])('has no answer from %s', async (url, problem, retryable) => {
  await using fetcher = createUntrustedUrlFetcher({ allow: [] })
  const asked = createModerate({ fetcher })('a cat', { url, model: '', timeoutMs: 5_000 }, signal)
  expect(await failureOf(asked)).toMatchObject({ problem, retryable })
})

test('has no answer from a port where nobody listens', async () => {
  const server = await startUpstreamServer(() => {})
  await server[Symbol.asyncDispose]()
  expect(await failureOf(ask(`${server.origin}/v1/moderations`, 'a cat'))).toMatchObject({
    problem: 'it cannot be reached',
    retryable: true
  })
})

test.each([
  ['{"results":[{"flagged":"no"}]}'],
  ['{"results":[{"flagged":false},{}]}'],
  ['{"results":{"flagged":false}}'],
  ['[]'],
  ['null'],
  ['']
])('takes %s for no answer', async (body) => {
  await using server = await startUpstreamServer((_, response) => response.end(body))
  expect(await failureOf(ask(server.origin, 'a cat'))).toMatchObject({ problem: 'its answer is no moderation result' })
})

test('takes over names of categories only where they look like names, and no more than 32', async () => {
  const names = ['violence', 'a b/c-d.e', '<script>', 'ü', 'x'.repeat(65), ...Array.from({ length: 40 }, (_, index) => `c${index}`)]
  const categories = Object.fromEntries([...names.map((name) => [name, true]), ['quiet', false], ['odd', 'true']])
  await using server = await startUpstreamServer((_, response) =>
    response.end(JSON.stringify({ results: [{ flagged: true, categories }] }))
  )
  const flagged = await ask(server.origin, 'a cat')
  expect(flagged?.categories.slice(0, 3)).toEqual(['violence', 'a b/c-d.e', 'c0'])
  expect(flagged?.categories).toHaveLength(32)
})

test('is flagged where one of several results is', async () => {
  const answer = { results: [{ flagged: false }, { flagged: true, categories: null }] }
  await using server = await startUpstreamServer((_, response) => response.end(JSON.stringify(answer)))
  expect(await ask(server.origin, 'a cat')).toEqual({ categories: [] })
})

test('ends with the signal’s reason', async () => {
  await using moderation = await startFakeModeration()
  moderation.trouble = 'silent'
  const leaving = new AbortController()
  await using fetcher = fetcherFor(moderation.url)
  const asked = createModerate({ fetcher })('a cat', { url: moderation.url, model: '', timeoutMs: 5_000 }, leaving.signal)
  setTimeout(() => leaving.abort(new Error('the caller is gone')), 20)
  await expect(asked).rejects.toThrow('the caller is gone')
  await moderation.closed()
})

async function ask(url: string, text: string, options: Partial<ModerationEndpoint> = {}) {
  await using fetcher = fetcherFor(url)
  const endpoint = { url, model: 'omni-moderation-latest', key: apiKey, timeoutMs: 5_000, ...options }
  return await createModerate({ fetcher })(text, endpoint, signal)
}

function fetcherFor(url: string) {
  return createUntrustedUrlFetcher({ allow: [new URL(url).host] })
}

async function failureOf(asked: Promise<unknown>) {
  const error = await asked.then(
    () => undefined,
    (thrown: unknown) => thrown
  )
  if (!(error instanceof GatewayError)) throw new Error('there was an answer', { cause: error })
  expect([error.reason, error.outcome]).toEqual(['MODERATION_UNAVAILABLE', 'not_sent'])
  return { problem: error.fields.problem, retryable: error.retryable, retryAfterMs: error.retryAfterMs }
}
