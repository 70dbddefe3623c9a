import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { RateLimitMetric } from '../../gen/atelier/v1/rate_limit_pb.ts'
import { type ClusterGateway, type GatewayCluster, startGatewayCluster } from '../support/gateway-cluster.ts'
import { rateLimitsOf } from '../support/rate-limits.ts'

let cluster: GatewayCluster
let a: ClusterGateway
let b: ClusterGateway

beforeAll(async () => {
  cluster = await startGatewayCluster()
  ;[a, b] = await Promise.all([cluster.start(), cluster.start()])
})
afterAll(() => cluster[Symbol.asyncDispose]())

/** Sets a limit of the organization through one gateway and waits until both follow it; returns what ends it. */
async function limit(amount: number, metric: RateLimitMetric, windowSeconds: number): Promise<() => Promise<unknown>> {
  const limits = rateLimitsOf({ url: a.url, adminKey: cluster.adminKey })
  const subject = { case: 'organizationId', value: 'default' } as const
  const { rateLimit } = await limits.setRateLimit({ subject, metric, amount: BigInt(amount), windowSeconds: BigInt(windowSeconds) })
  await sleep(1_000)
  return async () => {
    await limits.deleteRateLimit({ id: rateLimit?.id ?? '' })
    await sleep(1_000)
  }
}

async function statusOf(answer: Promise<Response>): Promise<number> {
  const response = await answer
  await response.text()
  return response.status
}

function upstreamCalls(beginning: string): number {
  return cluster.upstream.calls.entries().reduce((sum, [prompt, count]) => sum + (prompt.startsWith(beginning) ? count : 0), 0)
}

test('200 requests at once at two gateways reach the provider no more often than the limit of both allows', async () => {
  const end = await limit(60, RateLimitMetric.REQUESTS, 86_400)
  const statuses = await Promise.all(
    Array.from({ length: 200 }, (_, index) => statusOf((index % 2 === 0 ? a : b).generate({ prompt: `many ${index}` })))
  )
  const passed = statuses.filter((status) => status === 200).length
  expect(new Set(statuses)).toEqual(new Set([200, 429]))
  // Either may have been left with less than a slice of 3.
  expect(passed).toBeGreaterThan(60 - 2 * 3)
  expect(passed).toBeLessThanOrEqual(60)
  expect(upstreamCalls('many')).toBe(passed)
  // What a gateway does not use goes back, and then every one has been used.
  let rest = 0
  await expect
    .poll(
      async () => {
        for (const gateway of [a, b]) if ((await statusOf(gateway.generate({ prompt: 'the rest' }))) === 200) rest += 1
        return passed + rest
      },
      { timeout: 10_000, interval: 100 }
    )
    .toBe(60)
  await sleep(3_000)
  expect([await statusOf(a.generate({ prompt: 'too many' })), await statusOf(b.generate({ prompt: 'too many' }))]).toEqual([429, 429])
  await end()
}, 30_000)

test('requests in flight are counted at both, and those of a gateway that is killed come back', async () => {
  const end = await limit(3, RateLimitMetric.IN_FLIGHT, 0)
  const dying = await cluster.start()
  await sleep(500)
  const lost = [1, 2].map((index) => dying.generate({ prompt: `held by the dying ${index}` }).catch(() => undefined))
  await cluster.upstream.arrived('held by the dying', 2)
  const third = a.generate({ prompt: 'held by the living' })
  await cluster.upstream.arrived('held by the living')
  const refused = await b.generate({ prompt: 'one too many' })
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '1'])
  await dying.kill()
  await Promise.all(lost)
  expect(await statusOf(b.generate({ prompt: 'still one too many' }))).toBe(429)
  await expect.poll(() => statusOf(b.generate({ prompt: 'in the place of the dead' })), { timeout: 15_000, interval: 200 }).toBe(200)
  cluster.upstream.release('held by the living')
  expect(await statusOf(third)).toBe(200)
  await end()
}, 30_000)
