// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the configuration's references look like this
import { expect, test } from 'vitest'
import { databaseSecrets, maskDatabaseUrl } from '../../src/config/database-url.ts'
import { loadYaml, problemsOf } from '../support/config-file.ts'

const masterKey = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const oldKey = 'QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8='
const olderKey = 'YGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn8='

const stores = {
  ATELIER_MASTER_KEY: masterKey,
  DATABASE_URL: 'postgres://atelier:open-sesame@db.internal:5432/atelier',
  ATELIER_S3_BUCKET: 'example-images',
  AWS_ACCESS_KEY_ID: 'the-access-key',
  AWS_SECRET_ACCESS_KEY: 'the-access-keys-secret'
}

test.each([
  ['tasks: off', {}, 'off'],
  ['tasks: on', {}, 'on'],
  ['tasks: "off"', {}, 'off'],
  ['tasks: false', {}, 'off'],
  ['tasks: true', {}, 'on'],
  ['tasks: "${TASKS}"', { TASKS: 'off' }, 'off'],
  ['tasks: "${TASKS}"', { TASKS: 'false' }, 'off'],
  ['tasks:', {}, 'on']
])('%s with %j', async (text, environment, tasks) => {
  expect((await loadYaml(text, environment as Record<string, string>)).settings.tasks).toBe(tasks)
})

test('the environment alone can name every store', async () => {
  const { settings, origins } = await loadYaml(undefined, {
    ...stores,
    ATELIER_S3_ENDPOINT: 'https://minio.internal:9000',
    ATELIER_PREVIOUS_MASTER_KEYS: `${oldKey}, ${olderKey},`,
    AWS_REGION: 'eu-central-1',
    AWS_SESSION_TOKEN: 'the-session-token'
  })
  expect([settings.databaseUrl, settings.previousMasterKeys, settings.s3]).toEqual([
    'postgres://atelier:open-sesame@db.internal:5432/atelier',
    [oldKey, olderKey],
    {
      bucket: 'example-images',
      endpoint: 'https://minio.internal:9000',
      region: 'eu-central-1',
      prefix: '',
      accessKeyId: 'the-access-key',
      secretAccessKey: 'the-access-keys-secret',
      sessionToken: 'the-session-token'
    }
  ])
  expect(['database_url', 's3.region', 'previous_master_keys[1]'].map((path) => origins.get(path))).toEqual([
    'DATABASE_URL',
    'AWS_REGION',
    'ATELIER_PREVIOUS_MASTER_KEYS'
  ])
})

test('what AWS_ variables say has no effect without a bucket', async () => {
  const { settings } = await loadYaml(undefined, { AWS_REGION: 'NOWHERE', AWS_ACCESS_KEY_ID: 'a', AWS_SESSION_TOKEN: 'b' })
  expect(settings.s3).toBeUndefined()
})

test('the file names the access key of a bucket that the environment names, and the token of another key stays away from it', async () => {
  const text = 's3: { bucket: from-the-file, region: eu-central-1, access_key_id: key-of-the-file, secret_access_key: secret-of-the-file }'
  const { settings } = await loadYaml(text, {
    ATELIER_S3_BUCKET: 'example-images',
    AWS_REGION: 'us-west-2',
    AWS_ACCESS_KEY_ID: 'the-access-key',
    AWS_SECRET_ACCESS_KEY: 'the-access-keys-secret',
    AWS_SESSION_TOKEN: 'the-session-token'
  })
  expect(settings.s3).toEqual({
    bucket: 'example-images',
    region: 'eu-central-1',
    prefix: '',
    accessKeyId: 'key-of-the-file',
    secretAccessKey: 'secret-of-the-file'
  })
})

const malformedUrl =
  'must read postgres://user:password@host:port/database; special characters in the user name and the password must be percent-encoded'

test.each([
  [
    'a database needs what its processes share',
    { DATABASE_URL: stores.DATABASE_URL },
    'DATABASE_URL database_url: needs master_key (ATELIER_MASTER_KEY) and s3 with a bucket (ATELIER_S3_BUCKET) too: every process must be able to read what another one has stored'
  ],
  [
    'a database needs a master key',
    { ...stores, ATELIER_MASTER_KEY: '' },
    'DATABASE_URL database_url: needs master_key (ATELIER_MASTER_KEY) too: every process must be able to read what another one has stored'
  ],
  [
    'a bucket needs an access key',
    { ATELIER_S3_BUCKET: 'example-images', AWS_SECRET_ACCESS_KEY: 'the-access-keys-secret' },
    'ATELIER_S3_BUCKET s3.access_key_id: must be set (or AWS_ACCESS_KEY_ID): the bucket cannot be reached without it'
  ],
  [
    'an access key needs its secret',
    { ATELIER_S3_BUCKET: 'example-images', AWS_ACCESS_KEY_ID: 'the-access-key' },
    'ATELIER_S3_BUCKET s3.secret_access_key: must be set (or AWS_SECRET_ACCESS_KEY): the bucket cannot be reached without it'
  ],
  [
    'an address needs a bucket',
    { ...stores, ATELIER_S3_BUCKET: '', ATELIER_S3_ENDPOINT: 'https://minio.internal:9000' },
    'ATELIER_S3_ENDPOINT s3.bucket: must be set (or ATELIER_S3_BUCKET), to the name of the bucket that holds the images'
  ],
  [
    'a bucket has a name',
    { ...stores, ATELIER_S3_BUCKET: 'Example' },
    'ATELIER_S3_BUCKET s3.bucket: must be a bucket\'s name: 3 to 63 lower-case letters, digits, - and . (got "Example")'
  ],
  [
    'an address has no path',
    { ...stores, ATELIER_S3_ENDPOINT: 'https://minio.internal/images' },
    'ATELIER_S3_ENDPOINT s3.endpoint: must be an http or https URL without a path (got "https://minio.internal/images")'
  ],
  [
    'an address has no user',
    { ...stores, ATELIER_S3_ENDPOINT: 'https://user:pass@minio.internal' },
    'ATELIER_S3_ENDPOINT s3.endpoint: must not hold a user name or password (got "https://…@minio.internal")'
  ],
  [
    'a region has a name',
    { ...stores, AWS_REGION: 'EU' },
    'AWS_REGION s3.region: must be the name of a region, such as eu-central-1 (got "EU")'
  ],
  [
    'an access key is one word',
    { ...stores, AWS_ACCESS_KEY_ID: 'a b' },
    'AWS_ACCESS_KEY_ID s3.access_key_id: must be visible ASCII characters'
  ],
  [
    'only PostgreSQL is understood',
    { ...stores, DATABASE_URL: 'mysql://db.internal/atelier' },
    'DATABASE_URL database_url: must begin with postgres:// and hold no blanks'
  ],
  ['a port is a number', { ...stores, DATABASE_URL: 'postgres://db.internal:port/atelier' }, `DATABASE_URL database_url: ${malformedUrl}`],
  [
    'a slash in a password is percent-encoded',
    { ...stores, DATABASE_URL: 'postgres://a:12/x@b/c' },
    `DATABASE_URL database_url: ${malformedUrl}`
  ],
  ['so is a percent sign', { ...stores, DATABASE_URL: 'postgres://a:5%@b/c' }, `DATABASE_URL database_url: ${malformedUrl}`],
  [
    'an earlier master key is one',
    { ATELIER_PREVIOUS_MASTER_KEYS: `${oldKey},short` },
    'ATELIER_PREVIOUS_MASTER_KEYS previous_master_keys[1]: must be 32 bytes in base64, 44 characters with the = at the end, as master_key'
  ],
  [
    'there are not too many of them',
    { ATELIER_PREVIOUS_MASTER_KEYS: Array.from({ length: 9 }, () => oldKey).join(',') },
    'ATELIER_PREVIOUS_MASTER_KEYS previous_master_keys: must be at most 8 keys'
  ],
  [
    'a master key is random',
    { ATELIER_MASTER_KEY: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=' },
    'ATELIER_MASTER_KEY master_key: is not random: make one with `openssl rand -base64 32`'
  ]
])('%s', async (_, environment, problem) => {
  expect(await problemsOf(undefined, environment as Record<string, string>)).toEqual([problem])
})

test.each([
  ['tasks: maybe', 'tasks: must be on or off (got "maybe")'],
  ['tasks: 0', 'tasks: must be on or off'],
  ['keep_tasks_for_seconds: 59', 'keep_tasks_for_seconds: must be a whole number from 60 to 31536000 (got "59")'],
  [
    `s3: { bucket: abc, access_key_id: a, secret_access_key: b, prefix: a }`,
    's3.prefix: must be empty or end in /, and hold only letters, digits, -, _, . and single slashes (got "a")'
  ]
])('%s', async (text, problem) => {
  expect((await problemsOf(text)).map((line) => line.replace(/^atelier.yaml:\d+:\d+ /, ''))).toEqual([problem])
})

test.each([
  ['postgres://db.internal/atelier', 'postgres://db.internal/atelier', []],
  ['postgres://atelier@db.internal/atelier', 'postgres://atelier@db.internal/atelier', []],
  ['postgres://a:secret@db/x', 'postgres://a:…@db/x', ['postgres://a:secret@db/x', 'secret']],
  ['postgres://a:p@s:s@db/x', 'postgres://a:…@db/x', ['postgres://a:p@s:s@db/x', 'p@s:s', 'p%40s%3As']],
  ['postgres://a:s%2Ft@/x?host=/tmp', 'postgres://a:…@/x?host=/tmp', ['postgres://a:s%2Ft@/x?host=/tmp', 's%2Ft', 's/t']],
  [
    'postgres:///x?user=a&password=s%2Ft&sslmode=require',
    'postgres:///x?user=a&password=…&sslmode=require',
    ['postgres:///x?user=a&password=s%2Ft&sslmode=require', 's%2Ft', 's/t']
  ]
])('%s is an address whose passwords are known and never shown', async (url, shown, secrets) => {
  expect(await problemsOf(undefined, { ...stores, DATABASE_URL: url })).toEqual([])
  expect([maskDatabaseUrl(url), databaseSecrets(url)]).toEqual([shown, secrets])
})
