import { expect, test } from 'vitest'
import { createJobPacker, createUnpackJobs, type PackedJobs } from '../../src/storage/sqlite/packed-jobs.ts'
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
  const pack = packed()
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

test('leaves out a job that holds what no database can, with the text that came along with it', () => {
  const packer = createJobPacker()
  const unpack = createUnpackJobs()
  const job = (sql: string, parameters: unknown[]) => ({ readOnly: true, statements: [{ sql, parameters }] })
  packer.add(job('select ?', ['first']))
  expect(() => packer.add(job('select 2, ?', [1, Symbol('no')]))).toThrow(TypeError)
  packer.add(job('select 2, ?', ['second']))
  packer.add(job('select ?', ['third']))
  expect(unpack(packer.take()).map(({ statements }) => [statements[0]?.sql, statements[0]?.parameters[0]])).toEqual([
    ['select ?', 'first'],
    ['select 2, ?', 'second'],
    ['select ?', 'third']
  ])
})

test('copies of a buffer only what is sent', () => {
  const [sent] = packed()([{ readOnly: false, statements: [{ sql: '?', parameters: [Buffer.from('abc')] }] }]).filter(
    (value) => value instanceof Uint8Array
  )
  expect(sent?.buffer.byteLength).toBe(3)
})

function travel(jobs: readonly Job[]): Job[] {
  const pack = packed()
  const unpack = createUnpackJobs()
  const half = Math.ceil(jobs.length / 2)
  return [...unpack(structuredClone(pack(jobs.slice(0, half)))), ...unpack(structuredClone(pack(jobs.slice(half))))]
}

function packed(): (jobs: readonly Job[]) => PackedJobs {
  const packer = createJobPacker()
  return (jobs) => {
    for (const job of jobs) packer.add(job)
    return packer.take()
  }
}
