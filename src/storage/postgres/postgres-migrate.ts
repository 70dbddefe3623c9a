import { type Migration, missingMigrations } from '../migrations.ts'
import { type PostgresConnection, toStep } from './postgres-connection.ts'
import { toPostgresParameter } from './postgres-values.ts'

/** Applies the missing migrations in one transaction, while other processes wait. */
export async function migratePostgres(connection: PostgresConnection, migrations: readonly Migration[]): Promise<void> {
  await connection.runScript(`
    begin;
    set local statement_timeout = 0;
    set local lock_timeout = 0;
    set local idle_in_transaction_session_timeout = 0;
    select pg_advisory_xact_lock(${lockKey});
    create table if not exists migrations (name text not null primary key, applied_at_ms bigint not null)`)
  try {
    const [applied] = await connection.run([toStep('select name from migrations')])
    const names = applied?.rows.map((row) => String(row.name)) ?? []
    for (const { name, up } of missingMigrations(names, migrations)) {
      const nowMs = Date.now()
      await connection.runScript(up(nowMs).replaceAll(/\btext\b/g, 'text collate "C"'))
      const parameters = [name, nowMs].map(toPostgresParameter)
      await connection.run([{ sql: 'insert into migrations (name, applied_at_ms) values ($1, $2)', parameters }])
    }
    await connection.runScript('commit')
  } catch (error) {
    await connection.runScript('rollback').catch(() => undefined)
    throw error
  }
}

/** Any number that no other program is likely to lock in the same database. */
const lockKey = 7_238_104_415_566_021
