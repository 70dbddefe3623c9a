import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Database, openDatabase, type Topic } from '../../src/storage/database.ts'
import { type PostgresCluster, startPostgres } from '../support/postgres.ts'
import { startPostgresProxy } from '../support/postgres-proxy.ts'

let cluster: PostgresCluster

beforeAll(async () => {
  cluster = await startPostgres()
})

afterAll(() => cluster[Symbol.asyncDispose]())

test('tells every process each topic once, its own included', async () => {
  await using pair = await openPair()
  const heard = pair.map(listen)
  await pair[0].commit([], ['queue', 'task t1'])
  await pair[1].commit([], ['settings'])
  await expect
    .poll(() => heard.map((topics) => topics.toSorted()))
    .toEqual([
      ['queue', 'settings', 'task t1'],
      ['queue', 'settings', 'task t1']
    ])
  await pair[0].commit([], ['callbacks'])
  await expect.poll(() => heard.map((topics) => topics.length)).toEqual([4, 4])
})

test('tells thousands of topics, more than fit into one message', async () => {
  await using pair = await openPair()
  const heard = listen(pair[1])
  const topics = Array.from({ length: 3_000 }, (_, index) => `task ${index}-with-a-name-of-some-length-ä` as const)
  await Promise.all(Array.from({ length: 100 }, (_, commit) => pair[0].commit([], topics.slice(commit * 30, commit * 30 + 30))))
  await expect.poll(() => heard.toSorted(), { timeout: 5_000 }).toEqual(topics.toSorted())
})

test('tells that something has changed where its name is too long for a message', async () => {
  await using pair = await openPair()
  const heard = listen(pair[1])
  await pair[0].commit([], [`task ${'ä'.repeat(5_000)}`])
  await pair[0].commit([], ['queue'])
  await expect.poll(() => heard).toEqual([undefined, 'queue'])
})

test('tells what it could not tell while its connection was broken, and that it may have missed something', async () => {
  const databaseUrl = await cluster.createDatabase()
  await using proxy = await startPostgresProxy(databaseUrl)
  await using database = await openDatabase({ dataDir: '/nowhere', databaseUrl: proxy.databaseUrl })
  await using other = await openDatabase({ dataDir: '/nowhere', databaseUrl })
  const heard = [database, other].map(listen)
  proxy.rule = { kind: 'cutBefore', text: 'listen' }
  proxy.cutAll()
  await expect.poll(() => proxy.cuts).toBeGreaterThan(0)
  await database.commit([], ['queue'])
  proxy.rule = { kind: 'pass' }
  await expect.poll(() => heard, { timeout: 5_000 }).toEqual([['queue', undefined], ['queue']])
  await other.commit([], ['callbacks'])
  await expect.poll(() => heard.map((topics) => topics.at(-1)), { timeout: 5_000 }).toEqual(['callbacks', 'callbacks'])
})

test('tells again what it was telling when its connection broke', async () => {
  const databaseUrl = await cluster.createDatabase()
  await using proxy = await startPostgresProxy(databaseUrl)
  await using database = await openDatabase({ dataDir: '/nowhere', databaseUrl: proxy.databaseUrl })
  await using other = await openDatabase({ dataDir: '/nowhere', databaseUrl })
  const heard = listen(other)
  proxy.rule = { kind: 'cutBefore', text: '"queue"' }
  await database.commit([], ['queue'])
  await expect.poll(() => proxy.cuts).toBeGreaterThan(0)
  proxy.rule = { kind: 'pass' }
  await expect.poll(() => heard, { timeout: 5_000 }).toEqual(['queue'])
})

test('ignores what other programs say on the same channel', async () => {
  await using pair = await openPair()
  const heard = listen(pair[0])
  await using client = await connect(pair.databaseUrl)
  await client.query(`notify atelier; notify atelier, 'nonsense'; notify atelier, '[]'; notify atelier, '{"from":"x","topics":["queue"]}'`)
  await expect.poll(() => heard).toContain('queue')
  expect(new Set(heard)).toEqual(new Set([undefined, 'queue']))
})

async function openPair() {
  const databaseUrl = await cluster.createDatabase()
  const one = await openDatabase({ dataDir: '/nowhere', databaseUrl })
  const other = await openDatabase({ dataDir: '/nowhere', databaseUrl })
  const pair: [Database, Database] = [one, other]
  return Object.assign(pair, {
    databaseUrl,
    async [Symbol.asyncDispose]() {
      await one[Symbol.asyncDispose]()
      await other[Symbol.asyncDispose]()
    }
  })
}

function listen(database: Database): (Topic | undefined)[] {
  const heard: (Topic | undefined)[] = []
  database.onAnnouncement((topic) => heard.push(topic))
  return heard
}

async function connect(databaseUrl: string) {
  const client = new Client(databaseUrl)
  await client.connect()
  return { query: (text: string) => client.query(text), [Symbol.asyncDispose]: () => client.end() }
}
