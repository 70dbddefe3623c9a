import { sql } from 'kysely'
import { sumUsage } from '../../src/ledger/usage-sums.ts'
import type { Database } from '../../src/storage/database.ts'

/** Compares what the usage report says with the tasks: for each key and model the micro-dollars, the calls and the requests, and the days with the whole. */
export async function auditUsage(database: Database): Promise<string[]> {
  const told = await sumUsage(database, {}, [{ by: 'organization' }, { by: 'api_key' }, { by: 'provider' }, { by: 'model' }])
  const settled = await database.query
    .selectFrom('attempts')
    .innerJoin('tasks', 'tasks.id', 'attempts.task_id')
    .groupBy(['tasks.organization_id', 'tasks.api_key_id', 'attempts.provider', 'attempts.model'])
    .select(['tasks.organization_id', 'tasks.api_key_id', 'attempts.provider', 'attempts.model'])
    .select(({ fn }) => [
      fn.sum<number | null>('attempts.cost_micros').as('cost'),
      fn.countAll<number>().as('attempts'),
      fn.sum<number>(sql`case when part = 0 and ordinal = 0 then 1 else 0 end`).as('requests')
    ])
    .execute()
  const expected = new Map(
    settled.map(({ organization_id, api_key_id, provider, model, cost, attempts, requests }) => [
      [organization_id, api_key_id, provider, model].join(' '),
      `${attempts} calls of ${requests} requests for ${cost ?? 0}`
    ])
  )
  const found = new Map(
    told.map(({ values, sums }) => [values.join(' '), `${sums.attempts} calls of ${sums.requests} requests for ${sums.spentMicros}`])
  )
  const problems = [...new Set([...expected.keys(), ...found.keys()])]
    .filter((name) => expected.get(name) !== found.get(name))
    .map((name) => `the usage of ${name} is told as ${found.get(name)} and was ${expected.get(name)}`)
  const days = await sumUsage(database, {}, [{ by: 'day' }], { sliceRows: 100 })
  const [byDay, whole] = [days, told].map((groups) => groups.reduce((sum, { sums }) => sum + sums.spentMicros, 0n))
  return byDay === whole ? problems : [...problems, `the days come to ${byDay} and the whole to ${whole}`]
}
