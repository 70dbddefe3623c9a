import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { GatewayError } from '../../src/errors.ts'
import { readEvents } from '../support/read-events.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'
import { everythingIn, type ProviderUnderTest, suiteAttempt, suiteCredential, suiteHeader, workOf } from './provider.ts'

/** What every adapter keeps where something answers that is not its vendor: a proxy, a wrong address, an attacker. */
export function hostileAnswerSuite(name: string, under: ProviderUnderTest): void {
  let opened = new AsyncDisposableStack()
  afterEach(async () => {
    await opened.disposeAsync()
    opened = new AsyncDisposableStack()
  })

  async function errorFrom(listener: RequestListener): Promise<GatewayError> {
    const server = opened.use(await startUpstreamServer(listener))
    return errorAt(server.origin)
  }

  async function errorAt(origin: string): Promise<GatewayError> {
    const provider = under.connect(origin, opened)
    const thrown: unknown = await readEvents(provider.run(workOf(under, '', 1), suiteAttempt())).catch((error: unknown) => error)
    expect(thrown).toBeInstanceOf(GatewayError)
    return thrown as GatewayError
  }

  describe(`${name}, as every provider that calls somebody,`, () => {
    test.each(strangeBodies)('takes no strange answer with status 200 for an image: %s', async (_, contentType, body) => {
      const error = await errorFrom((_request, response) => response.writeHead(200, { 'content-type': contentType }).end(body))
      expect(['OUTCOME_UNKNOWN', 'PROVIDER_FAILED']).toContain(error.reason)
      expect([error.outcome, error.retryable]).toEqual(['unknown', false])
    })

    test.each(statuses)('understands status %d by itself, whatever its body is', async (status) => {
      const refused = status < 500 && status !== 408
      let [contentType, body] = ['', '']
      const server = opened.use(
        await startUpstreamServer((_request, response) => response.writeHead(status, { 'content-type': contentType }).end(body))
      )
      for ([contentType, body] of errorBodies) {
        const error = await errorAt(server.origin)
        expect([status, body, error.outcome]).toEqual([status, body, refused || error.retryable ? 'rejected' : 'unknown'])
        if ([401, 402, 403].includes(status)) expect(error.reason).toBe('PROVIDER_KEY_REFUSED')
        if (status === 429) expect(error.reason).toBe('PROVIDER_RATE_LIMITED')
        if (status === 400 || status === 422) expect(error.reason).toBe('PROVIDER_REJECTED')
      }
    })

    test('goes by the status of an error whose body breaks off', async () => {
      const error = await errorFrom((_request, response) => {
        response.writeHead(429, { 'content-length': 100, 'retry-after': '3' })
        response.write('{"error":{"mess', () => response.socket?.destroy())
      })
      expect(error).toMatchObject({ reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryAfterMs: 3000 })
    })

    test('follows no redirect, and shows no more of its target than the origin', async () => {
      const elsewhere = opened.use(await startUpstreamServer((_request, response) => response.end()))
      const location = `${elsewhere.origin}/hidden?token=hidden`
      const error = await errorFrom((_request, response) => response.writeHead(307, { location }).end())
      expect([error.reason, error.outcome, elsewhere.connections.accepted]).toEqual(['PROVIDER_FAILED', 'rejected', 0])
      expect(error.message).not.toContain('hidden')
    })

    test.each([200, 400, 401, 403, 404, 429, 500])('shows callers no key that an answer with status %d repeats', async (status) => {
      for (const shape of echoes) {
        const error = await errorFrom((request, response) => {
          const said = Object.entries(request.headers).map(([header, value]) => `${header}: ${value}`)
          response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(shape(said.join(', '))))
        })
        expect(everythingIn(error)).not.toContain(suiteCredential)
        expect(everythingIn(error)).not.toContain(suiteHeader)
      }
    })

    test.each(['x', '*', '[', 'sk-', 'bearer ', '"', '\\', 'safety_violations=['])(
      'reads no more of an endless error than it can show: %s',
      async (text) => {
        const closed: Promise<unknown>[] = []
        const server = opened.use(
          await startUpstreamServer(async (_request, response) => {
            const left = once(response, 'close')
            closed.push(left)
            response.writeHead(500, { 'content-type': 'text/plain' })
            while (!response.destroyed) if (!response.write(text.repeat(65_536))) await Promise.race([once(response, 'drain'), left])
          })
        )
        // Several times, so that a pattern which takes seconds for one error runs out of time.
        for (let round = 0; round < 10; round++) expect((await errorAt(server.origin)).message.length).toBeLessThan(1000)
        await Promise.all(closed)
      }
    )

    test('knows that nothing was sent where nobody listens', async () => {
      const server = await startUpstreamServer(() => {})
      await server[Symbol.asyncDispose]()
      expect(await errorAt(server.origin)).toMatchObject({ reason: 'PROVIDER_UNREACHABLE', outcome: 'not_sent' })
    })
  })
}

const json = 'application/json'
const strangeBodies: [string, string, string][] = [
  ['nothing', json, ''],
  ['null', json, 'null'],
  ['a number', json, '7'],
  ['a string', json, '"an image"'],
  ['an empty list', json, '[]'],
  ['an empty object', json, '{}'],
  ['a list of nothing', json, '[null,{},[],7]'],
  ['half an object', json, '{"data":[{"b64_json":"iVBORw0KGgo'],
  ['no JSON', json, '{"data": oops}'],
  ['two documents', json, '{}{}'],
  ['nesting without end', json, '['.repeat(100_000)],
  ['keys without end', json, `{${Array.from({ length: 100_000 }, (_, key) => `"${key}":1`).join()}}`],
  ['keys that change prototypes', json, '{"__proto__":{"data":[]},"constructor":{"prototype":{}}}'],
  ['HTML', 'text/html', '<html><body>sign in to the network</body></html>'],
  ['text without a type', '', 'hello']
]

const statuses = [302, 400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 418, 422, 429, 451, 500, 501, 502, 503, 504, 520, 599]

const errorBodies: [string, string][] = [
  [json, ''],
  [json, 'null'],
  [json, '{}'],
  [json, '{"error":null,"message":7,"errors":{},"detail":[7]}'],
  [json, '{"error":{"message":["a"],"code":{},"type":[],"details":"x"}}'],
  [json, '['.repeat(50_000)],
  ['text/html', '<html><head><title>an error page</title></head></html>'],
  ['text/plain', 'upstream connect error']
]

/** The shapes in which vendors put their sentences. */
const echoes: ((said: string) => unknown)[] = [
  (said) => ({ error: { message: said, code: 'x', status: 'INVALID_ARGUMENT' } }),
  (said) => ({ error: said }),
  (said) => ({ message: said, name: 'bad_request', id: '1' }),
  (said) => ({ errors: [said], name: said, id: said }),
  (said) => ({ detail: said }),
  (said) => [{ error: { message: said, details: [{ reason: said, message: said }] } }],
  (said) => ({ error: { message: 'no', code: said, type: said, param: said } })
]
