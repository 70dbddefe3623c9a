import type { Config, S3Config } from '../../gen/atelier/v1/config_pb.ts'
import { masterKeyProblem } from '../storage/master-key.ts'
import { databaseUrlProblem } from './database-url.ts'
import type { Report } from './draft.ts'

/** Reports what no schema can say of the settings that decide where things are kept, and with which keys. */
export function checkStorage(config: Config, report: Report): void {
  const { databaseUrl, masterKey, previousMasterKeys, s3 } = config
  if (masterKey !== '') report('master_key', masterKeyProblem(masterKey))
  for (const [index, key] of previousMasterKeys.entries()) report(`previous_master_keys[${index}]`, masterKeyProblem(key))
  if (s3 !== undefined) checkS3(s3, report)
  if (databaseUrl === '') return
  report('database_url', databaseUrlProblem(databaseUrl))
  const missing = [
    ...(masterKey === '' ? ['master_key (ATELIER_MASTER_KEY)'] : []),
    ...(s3 === undefined ? ['s3 with a bucket (ATELIER_S3_BUCKET)'] : [])
  ].join(' and ')
  report(
    'database_url',
    missing === '' ? undefined : `needs ${missing} too: every process must be able to read what another one has stored`
  )
}

function checkS3(s3: S3Config, report: Report): void {
  report('s3.bucket', s3.bucket === '' ? 'must be set (or ATELIER_S3_BUCKET), to the name of the bucket that holds the images' : undefined)
  report('s3.endpoint', endpointProblem(s3.endpoint))
  const credentials = { access_key_id: s3.accessKeyId, secret_access_key: s3.secretAccessKey, session_token: s3.sessionToken }
  for (const [key, value] of Object.entries(credentials)) {
    const isMissing = value === '' && key !== 'session_token'
    report(`s3.${key}`, isMissing ? `must be set (or AWS_${key.toUpperCase()}): the bucket cannot be reached without it` : undefined)
    report(`s3.${key}`, /^[\x21-\x7e]*$/.test(value) ? undefined : 'must be visible ASCII characters')
  }
}

function endpointProblem(text: string): string | undefined {
  if (text === '') return undefined
  const url = URL.parse(text)
  if (url === null) return 'is not a valid URL'
  return url.username || url.password ? 'must not hold a user name or password' : undefined
}
