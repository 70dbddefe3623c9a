import { afterAll, describe, expect, test } from 'vitest'
import { startGateway } from '../support/gateway.ts'

const origin = 'https://app.example.com'
const gateway = await startGateway({ settings: { corsOrigins: [origin] } })
afterAll(() => gateway[Symbol.asyncDispose]())

const ask = (body: object, from: string) => gateway.post('/v1/images/generations', body, { origin: from })

describe('a page of an allowed origin', () => {
  test.each([
    ['who served', { model: 'sketch', prompt: 'a cat', quality: 'hd' }, ['x-atelier-warnings', 'x-atelier-cost']],
    ['that nothing may be sent again', { model: 'gpt-image-2', prompt: '[server-error]' }, ['x-should-retry']],
    ['how long to wait', { model: 'gpt-image-2', prompt: '[rate-limit]' }, ['retry-after', 'retry-after-ms']]
  ])('may read every header of ours: %s', async (_what, body, expected) => {
    const response = await ask(body, origin)
    await response.arrayBuffer()
    const ours = [...response.headers.keys()].filter((name) => /^(?:x-|retry-after)/.test(name))
    expect(ours).toEqual(expect.arrayContaining(['x-request-id', ...expected]))
    expect(response.headers.get('access-control-allow-origin')).toBe(origin)
    expect(response.headers.get('access-control-expose-headers')?.split(', ')).toEqual(expect.arrayContaining(ours))
  })
})

test('a page of any other origin may read nothing', async () => {
  const response = await ask({ model: 'sketch', prompt: 'a cat' }, 'https://elsewhere.example')
  expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([200, null])
})
