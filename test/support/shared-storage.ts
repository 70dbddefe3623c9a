import { randomBytes } from 'node:crypto'
import { startPostgres } from './postgres.ts'
import { startS3 } from './s3.ts'

/** An empty database, a bucket and a master key that several servers may share; `settings` are PostgreSQL's. */
export async function startSharedStorage(
  options: { settings?: string[] } = {}
): Promise<AsyncDisposable & { environment: Record<string, string> }> {
  await using parts = new AsyncDisposableStack()
  const postgres = parts.use(await startPostgres(options))
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
