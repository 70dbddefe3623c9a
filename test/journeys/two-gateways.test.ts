import { afterAll, beforeAll, expect, test } from 'vitest'
import { openDatabase } from '../../src/storage/database.ts'
import { type ClusterGateway, type GatewayCluster, startGatewayCluster } from '../support/gateway-cluster.ts'
import { pixel } from '../support/held-upstream.ts'
import { sendDuplicates } from '../support/send-duplicates.ts'
import { imbalances } from '../support/task-stores.ts'

let cluster: GatewayCluster
let a: ClusterGateway
let b: ClusterGateway

beforeAll(async () => {
  cluster = await startGatewayCluster()
  ;[a, b] = await Promise.all([cluster.start(), cluster.start()])
})
afterAll(() => cluster[Symbol.asyncDispose]())

test('a task that one accepted is served by either, result and image alike', async () => {
  const id = await a.submit('a red fox')

  const [fromA, fromB] = await Promise.all([a.task(id), b.task(id)])

  expect(fromA).toMatchObject({ status: 'succeeded', attempts: [{ status: 'succeeded' }] })
  expect(fromB).toMatchObject({ status: 'succeeded', attempts: [{ status: 'succeeded' }] })
  expect(await bytesBehind(fromB.result?.data[0]?.url, a)).toEqual(Buffer.from(pixel, 'base64'))
  expect(await bytesBehind(fromA.result?.data[0]?.url, b)).toEqual(Buffer.from(pixel, 'base64'))
  expect(cluster.upstream.calls.get('a red fox')).toBe(1)
})

test('20 duplicates under one key, half of them at each, make one call and get the same image', async () => {
  const prompt = 'held until all have asked'
  const duplicates = Array.from({ length: 20 }, (_, position) =>
    (position % 2 === 0 ? a : b).generate({ prompt }, { 'idempotency-key': 'twenty at once' })
  )
  await cluster.upstream.arrived(prompt)
  cluster.upstream.release(prompt)
  const answers = await Promise.all(duplicates)

  expect(new Set(await Promise.all(answers.map(imageIn)))).toEqual(new Set([pixel]))
  expect(answers.filter(({ headers }) => headers.get('x-atelier-replayed') === 'true')).toHaveLength(19)
  expect(new Set(answers.map(({ headers }) => headers.get('x-atelier-task-id'))).size).toBe(1)
  expect(cluster.upstream.calls.get(prompt)).toBe(1)
})

test('the end of a task is announced to those who wait for it at the other gateway', async () => {
  await using database = await openDatabase({ dataDir: '/nowhere', databaseUrl: cluster.databaseUrl })
  const announced: string[] = []
  database.onAnnouncement((topic) => announced.push(topic ?? 'anything'))
  const prompt = 'held while somebody waits'
  const id = await a.submit(prompt)
  await cluster.upstream.arrived(prompt)
  const before = announced.filter((topic) => topic === `task ${id}`).length
  const waiting = Promise.all([a.task(id), b.task(id)])
  cluster.upstream.release(prompt)

  expect((await waiting).map(({ status }) => status)).toEqual(['succeeded', 'succeeded'])
  // The listener's own connection may hear of it a moment later than theirs did.
  await expect.poll(() => announced.filter((topic) => topic === `task ${id}`).length).toBe(before + 1)
})

test('a cancellation at one stops what runs at the other', async () => {
  const prompt = 'held until it is cancelled'
  const answer = a.generate({ prompt })
  await cluster.upstream.arrived(prompt)
  const [id = ''] = await b.running()
  await b.cancel(id)

  await cluster.upstream.left(prompt)
  expect((await answer).status).toBe(499)
  expect(await b.task(id)).toMatchObject({ status: 'cancelled', error: { code: 'cancelled' }, attempts: [{ status: 'unknown' }] })
})

test('when one is killed, the other ends what it was doing, finishes what was queued, and serves its images', async () => {
  await using own = await startGatewayCluster({ maxRunningTasks: 2 })
  const [first, second] = [await own.start(), await own.start()]
  const finished = await first.submit('finished before')
  expect(await first.task(finished)).toMatchObject({ status: 'succeeded' })
  const prompts = Array.from({ length: 8 }, (_, position) => `held ${position}`)
  const waiting = first.generate({ prompt: 'held for a caller' }, { 'idempotency-key': 'of the caller' }).catch(() => 'connection lost')
  const ids = await Promise.all(prompts.map((prompt) => first.submit(prompt)))
  // Two at each, and the caller's.
  await own.upstream.arrived('held', 5)
  await first.kill()
  expect(await waiting).toBe('connection lost')
  for (const prompt of prompts) own.upstream.release(prompt)

  const states = (await Promise.all(ids.map((id) => second.task(id)))).map(({ status }) => status)
  expect(states.toSorted()).toEqual([...Array(2).fill('interrupted'), ...Array(6).fill('succeeded')])
  const again = await second.generate({ prompt: 'held for a caller' }, { 'idempotency-key': 'of the caller' })
  expect([again.status, again.headers.get('x-should-retry')]).toEqual([500, 'false'])
  expect(await again.json()).toMatchObject({ error: { code: 'outcome_unknown' } })
  expect(new Set(own.upstream.calls.values())).toEqual(new Set([1]))
  const { result } = await second.task(finished)
  expect(await bytesBehind(result?.data[0]?.url, second)).toEqual(Buffer.from(pixel, 'base64'))
  await using database = await openDatabase({ dataDir: '/nowhere', databaseUrl: own.databaseUrl })
  expect(await imbalances(database)).toEqual([])
}, 60_000)

test('200 keys with 20 duplicates each over both gateways make one call each', async () => {
  const report = await sendDuplicates([a, b], { keys: 200, duplicates: 20, keysAtATime: 40 })

  expect(report).toEqual({ answers: { 200: 4_000 }, divided: [] })
  const calls = [...cluster.upstream.calls].filter(([prompt]) => prompt.startsWith('key '))
  expect([calls.length, calls.filter(([, count]) => count > 1)]).toEqual([200, []])
}, 180_000)

async function imageIn(answer: Response): Promise<string> {
  const { data } = (await answer.json()) as { data: { b64_json: string }[] }
  return data[0]?.b64_json ?? ''
}

async function bytesBehind(link: string | undefined, gateway: ClusterGateway): Promise<Buffer> {
  const { pathname } = new URL(link ?? '')
  const answer = await fetch(gateway.url + pathname)
  if (answer.status !== 200) throw new Error(`${pathname} answered ${answer.status}`)
  return Buffer.from(await answer.arrayBuffer())
}
