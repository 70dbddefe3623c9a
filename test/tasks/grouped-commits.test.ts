import { Client } from 'pg'
import { afterAll, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { ConflictError } from '../../src/storage/database-error.ts'
import { createInsertions } from '../../src/storage/insert-rows.ts'
import type { LedgerEntryRow } from '../../src/storage/schema.ts'
import { createBudgetChanges } from '../../src/tasks/store/budget-changes.ts'
import { createGroupedCommits } from '../../src/tasks/store/grouped-commits.ts'
import { startPostgres } from '../support/postgres.ts'

const cluster = await startPostgres()
afterAll(() => cluster[Symbol.asyncDispose]())

test('a commit that waits for a lock of somebody else holds up no other one, except one about the same task', async () => {
  await using rig = await open()
  const { commit, insert, addTo } = rig
  await commit([insert('locked'), insert('free')])
  const holder = new Client(rig.databaseUrl)
  await holder.connect()
  await holder.query(`begin; select * from ledger_entries where id = 'locked' for update`)
  const done: string[] = []
  const note = (name: string) => () => void done.push(name)
  const waiting = [commit([addTo('locked')], [], 'task_1').then(note('locked'))]
  await rig.isWaiting()
  waiting.push(commit([addTo('free')], [], 'task_1').then(note('same task')))
  await commit([addTo('free')], [], 'task_2').then(note('other task'))
  expect(done).toEqual(['other task'])
  await holder.query('commit')
  await holder.end()
  await Promise.all(waiting)
  expect(done).toEqual(['other task', 'locked', 'same task'])
  expect(await rig.images()).toEqual({ locked: 1, free: 2 })
})

test('rows that commits insert at the same time become few statements, and each commit stays all or nothing', async () => {
  await using rig = await open()
  const { commit, insert, addTo } = rig
  await commit([insert('there')])
  const ids = Array.from({ length: 39 }, (_, index) => `new-${String(index).padStart(2, '0')}`)
  rig.statements.length = 0
  await Promise.all(ids.map((id) => commit([insert(id)])))
  expect(rig.statements).toEqual([4])
  const outcomes = await Promise.allSettled([
    commit([insert('one')]),
    commit([addTo('there'), insert('half'), insert('there')]),
    commit([insert('two'), addTo('there')])
  ])
  expect(outcomes).toEqual([
    { status: 'fulfilled', value: undefined },
    { status: 'rejected', reason: new ConflictError(2, 1, 0) },
    { status: 'fulfilled', value: undefined }
  ])
  expect(await rig.images()).toEqual({ ...Object.fromEntries(ids.map((id) => [id, 0])), one: 0, there: 1, two: 0 })
})

test('what a commit inserts is there for its own later statements', async () => {
  await using rig = await open()
  const { commit, insert, addTo } = rig
  await Promise.all([commit([insert('one'), addTo('one'), insert('two')]), commit([insert('three'), addTo('three')])])
  expect(await rig.images()).toEqual({ one: 1, two: 0, three: 1 })
})

async function open() {
  const databaseUrl = await cluster.createDatabase()
  const database = await openDatabase({ dataDir: '/nowhere', databaseUrl })
  const { query } = database
  const statements: number[] = []
  const counting: Database = {
    ...database,
    commit(each, topics) {
      statements.push(each.length)
      return database.commit(each, topics)
    }
  }
  const { insert, insertTogether } = createInsertions(query)
  const { commit } = createGroupedCommits({ database: counting, budgets: createBudgetChanges(database), insertTogether })
  return {
    databaseUrl,
    commit,
    /** How many there were in each commit to the database. */
    statements,
    insert: (id: string) => insert('ledger_entries', entry(id)),
    addTo: (id: string) => ({
      query: query
        .updateTable('ledger_entries')
        .set((set) => ({ images: set('images', '+', 1) }))
        .where('id', '=', id),
      expectRows: 1
    }),
    async images() {
      const rows = await query.selectFrom('ledger_entries').select(['id', 'images']).execute()
      return Object.fromEntries(rows.map(({ id, images }) => [id, images]))
    },
    /** Resolves when some session waits for a lock. */
    async isWaiting() {
      const client = new Client(databaseUrl)
      await client.connect()
      while ((await client.query('select 1 from pg_locks where not granted')).rowCount === 0);
      await client.end()
    },
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose]()
  }
}

function entry(id: string): LedgerEntryRow {
  return {
    id,
    organization_id: 'default',
    api_key_id: 'key-1',
    task_id: 'task',
    attempt_id: 'attempt',
    kind: 'reserve',
    provider: 'openai',
    model: 'dall-e-3',
    credential: 'platform',
    reserved_micros: 0,
    spent_micros: 0,
    priced: 1,
    basis: 'none',
    images: 0,
    pixels: 0,
    input_tokens: 0,
    output_tokens: 0,
    requests: 0,
    unpriced: 0,
    operation: 'generation',
    end_user: '',
    metadata: '{"team":"design"}',
    at_ms: 0
  }
}
