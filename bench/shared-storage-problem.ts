import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isPostgresInstalled } from '../test/support/postgres.ts'

/** Why PostgreSQL and the bucket of the tests cannot be started here; undefined where they can. */
export function sharedStorageProblem(): string | undefined {
  if (!isPostgresInstalled()) return 'PostgreSQL is not installed'
  const clients = join(import.meta.dirname, '../test/clients/node_modules/s3rver')
  return existsSync(clients) ? undefined : 'the bucket of the tests is not installed: `npm run install:clients`'
}
