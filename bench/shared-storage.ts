import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isPostgresInstalled, startPostgres } from '../test/support/postgres.ts'
import { startS3 } from '../test/support/s3.ts'

/** A PostgreSQL server and a bucket, both on this machine. */
export interface SharedStorage extends AsyncDisposable {
  /** For a gateway that is to use them. */
  environment: Record<string, string>
}

/** The server has the settings that PostgreSQL comes with. */
export async function startSharedStorage(): Promise<SharedStorage> {
  await using parts = new AsyncDisposableStack()
  const postgres = parts.use(await startPostgres({ settings: ['shared_buffers=128MB', 'deadlock_timeout=1s'] }))
  const s3 = parts.use(await startS3())
  const environment = {
    DATABASE_URL: await postgres.createDatabase(),
    ATELIER_MASTER_KEY: randomBytes(32).toString('base64'),
    ATELIER_S3_BUCKET: s3.bucket,
    ATELIER_S3_ENDPOINT: s3.endpoint,
    AWS_REGION: s3.region,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey
  }
  const owned = parts.move()
  return { environment, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** Why it cannot be started here; undefined where it can. */
export function sharedStorageProblem(): string | undefined {
  if (!isPostgresInstalled()) return 'PostgreSQL is not installed'
  const clients = join(import.meta.dirname, '../test/clients/node_modules/s3rver')
  return existsSync(clients) ? undefined : 'the bucket of the tests is not installed: `npm run install:clients`'
}
