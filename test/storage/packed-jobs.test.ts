import { expect, test } from 'vitest'
import { createPackJobs, createUnpackJobs } from '../../src/storage/sqlite/packed-jobs.ts'
import type { Job } from '../../src/storage/sqlite/sqlite-connection.ts'

test('brings jobs to another thread as they were, with whole numbers as bigints', () => {
  const job: Job = {
    readOnly: false,
    isCommit: true,
    statements: [
      {
        sql: 'insert into a values (?, ?, ?, ?, ?, ?, ?)',
        parameters: ['text', 1, -2, 0.5, null, 2n ** 63n - 1n, Uint8Array.of(1, 2)],
        expectRows: 1
      },
      { sql: 'delete from a', parameters: [] }
    ]
  }
  const query: Job = { readOnly: true, statements: [{ sql: 'select ?', parameters: [7] }] }
  expect(travel([job, query])).toEqual([
    {
      ...job,
      statements: [
        { ...job.statements[0], parameters: ['text', 1n, -2n, 0.5, null, 2n ** 63n - 1n, Uint8Array.of(1, 2)] },
        job.statements[1]
      ]
    },
    { readOnly: true, isCommit: false, statements: [{ sql: 'select ?', parameters: [7n] }] }
  ])
})

test('sends the text of a statement once', () => {
  const pack = createPackJobs()
  const job: Job = { readOnly: true, statements: [{ sql: 'select 1', parameters: [] }] }
  expect(pack([job])).toContain('select 1')
  expect(pack([job, job])).not.toContain('select 1')
})

test('tells more statements apart than it remembers, in one group too', () => {
  const jobs = Array.from(
    { length: 1_201 },
    (_, index): Job => ({ readOnly: true, statements: [{ sql: `select ${index}`, parameters: [] }] })
  )
  const groups = [...jobs, ...jobs.slice(300, 900), ...jobs]
  expect(travel(groups).map(({ statements }) => statements[0]?.sql)).toEqual(groups.map(({ statements }) => statements[0]?.sql))
})

test('copies of a buffer only what is sent', () => {
  const [sent] = createPackJobs()([{ readOnly: false, statements: [{ sql: '?', parameters: [Buffer.from('abc')] }] }]).filter(
    (value) => value instanceof Uint8Array
  )
  expect(sent?.buffer.byteLength).toBe(3)
})

function travel(jobs: readonly Job[]): Job[] {
  const pack = createPackJobs()
  const unpack = createUnpackJobs()
  const half = Math.ceil(jobs.length / 2)
  return [...unpack(structuredClone(pack(jobs.slice(0, half)))), ...unpack(structuredClone(pack(jobs.slice(half))))]
}
