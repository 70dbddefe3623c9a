import OpenAI7 from 'openai'
import OpenAI6 from 'openai-6'
import { afterAll, describe, expect, test } from 'vitest'
import { RateLimitMetric } from '../../gen/atelier/v1/rate_limit_pb.ts'
import { adminOf, createKey } from '../support/admin.ts'
import { startAtelier } from '../support/atelier.ts'
import { rateLimitsOf } from '../support/rate-limits.ts'

const atelier = await startAtelier()
afterAll(() => atelier[Symbol.asyncDispose]())

const versions = [
  ['openai-7', OpenAI7],
  ['openai-6', OpenAI6 as unknown as typeof OpenAI7]
] as const

describe.each(versions)('%s', (version, OpenAI) => {
  const request = { model: 'sketch', prompt: 'a lighthouse', response_format: 'b64_json' } as const

  async function clientWithLimit(organization: string, windowSeconds: bigint) {
    await adminOf(atelier).createOrganization({ id: organization })
    const subject = { case: 'organizationId', value: organization } as const
    await rateLimitsOf(atelier).setRateLimit({ subject, metric: RateLimitMetric.REQUESTS, amount: 1n, windowSeconds })
    const { key } = await createKey(atelier, { organizationId: organization })
    return new OpenAI({ apiKey: key, baseURL: `${atelier.url}/v1` })
  }

  test('reads what is left from the headers, and gets a RateLimitError with its wait', async () => {
    const client = (await clientWithLimit(`reads-${version}`, 3_600n)).withOptions({ maxRetries: 0 })
    const { response } = await client.images.generate(request).withResponse()
    expect([response.headers.get('x-ratelimit-limit-requests'), response.headers.get('x-ratelimit-remaining-requests')]).toEqual(['1', '0'])
    const error: unknown = await client.images.generate(request).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.RateLimitError)
    const { status, code, type, headers, requestID } = error as InstanceType<typeof OpenAI.RateLimitError>
    expect([status, code, type, headers?.get('retry-after'), headers?.get('x-ratelimit-remaining-requests')]).toEqual([
      429,
      'rate_limit_exceeded',
      'rate_limit_error',
      '60',
      '0'
    ])
    expect(headers?.get('x-ratelimit-reset-requests')).toMatch(/^(59m|1h0m)/)
    expect(requestID).toBe(headers?.get('x-request-id'))
  })

  test('waits as long as it is told, and then gets its image', async () => {
    const client = await clientWithLimit(`waits-${version}`, 1n)
    const retries: (string | null)[] = []
    const watched = client.withOptions({
      maxRetries: 1,
      fetch: async (...args: Parameters<typeof fetch>) => {
        const response = await fetch(...args)
        retries.push(response.headers.get('retry-after-ms'))
        return response
      }
    })
    await watched.images.generate(request)
    const { data } = await watched.images.generate(request)
    expect([data?.length, retries.length, retries.filter((wait) => wait !== null).length]).toEqual([1, 3, 1])
  })
})
