// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the configuration's references look like this
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DescMessage } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { ConfigSchema } from '../gen/atelier/v1/config_pb.ts'
import { loadConfig, secretsOf } from '../src/config.ts'
import { loadYaml } from './support/config-file.ts'
import { createTemporaryDirectory } from './support/temporary-directory.ts'

const masterKey = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const oldKey = 'QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8='

test('without file and environment every default applies', async () => {
  await using directory = await createTemporaryDirectory()
  const { settings, file, warnings } = await loadConfig({}, { directory: directory.path })
  expect({ settings, file, warnings }).toEqual({
    settings: {
      listen: { host: '127.0.0.1', port: 8080 },
      dataDir: join(directory.path, 'data'),
      tasks: 'on',
      defaultModel: 'dall-e-3',
      previousMasterKeys: [],
      logLevel: 'info',
      providers: [{ name: 'sketch', adapter: 'sketch', apiKey: '', models: [], headers: {}, maxConnections: 256 }],
      aliases: {},
      catalogFiles: [],
      egressAllow: [],
      allowRequestCredentials: false,
      allowProviderKeyOnly: false,
      customHosts: [],
      corsOrigins: [],
      maxInFlight: 2048,
      maxBodyBytes: 1_048_576,
      maxConnections: 10_000,
      drainMs: 30_000,
      maxRunningTasks: 64,
      maxQueuedTasks: 100_000,
      keepResultsSeconds: 600,
      keepTasksSeconds: 604_800,
      linkLifetimeSeconds: 3600,
      prices: [],
      priceUnit: 'USD'
    },
    file: undefined,
    warnings: []
  })
})

test('every setting of the file arrives', async () => {
  await using directory = await createTemporaryDirectory()
  for (const name of ['certificate.pem', 'key.pem']) await writeFile(join(directory.path, name), '')
  await writeFile(
    join(directory.path, 'atelier.yaml'),
    `
listen: "[::1]:9000"
public_url: https://images.example.com/atelier/
data_dir: /var/lib/atelier
default_model: basement/sd-turbo
api_key: key-of-all-the-callers
admin_key: key-of-the-operator
master_key: ${masterKey}
previous_master_keys: [${oldKey}]
database_url: postgres://atelier:open%2Fsesame@db.internal/atelier
s3:
  bucket: example-images
  endpoint: https://minio.internal:9000/
  region: eu-central-1
  prefix: atelier/
  access_key_id: the-access-key
  secret_access_key: the-access-keys-secret
  session_token: the-session-token
tasks: off
keep_results_for_seconds: 0
keep_tasks_for_seconds: 60
log_level: warn
providers:
  basement:
    adapter: openai
    base_url: http://127.0.0.1:1234/v1/
    api_key: basement-key
    models: [sd-turbo, sd-xl]
    headers: { X-Team: drawing }
    max_connections: 8
    timeout_seconds: 90
aliases: { dall-e-3: basement/sd-xl }
egress: { allow: ["10.1.2.0/24:443"] }
allow_request_credentials: true
allow_provider_key_only: true
custom_hosts: ["https://llm.example.com/", "http://10.1.2.3:8000", "https://LLM.example.com:443"]
tls: { certificate_file: certificate.pem, key_file: key.pem }
cors: { allow_origins: [https://app.example.com] }
limits: { max_in_flight: 10, max_body_bytes: 2000, max_connections: 30, drain_seconds: 0, max_running_tasks: 2, max_queued_tasks: 3 }
link_lifetime_seconds: 60
price_unit: credits
prices:
  - { models: [nano-*], providers: [google], qualities: [auto], per_image: 0.14, sizes: [auto], other_sizes_factor: 1.5 }
  - { per_image: 1 }
`
  )
  const { settings } = await loadConfig({}, { directory: directory.path })
  expect(settings).toEqual({
    listen: { host: '::1', port: 9000 },
    publicUrl: 'https://images.example.com/atelier',
    dataDir: '/var/lib/atelier',
    databaseUrl: 'postgres://atelier:open%2Fsesame@db.internal/atelier',
    s3: {
      bucket: 'example-images',
      endpoint: 'https://minio.internal:9000',
      region: 'eu-central-1',
      prefix: 'atelier/',
      accessKeyId: 'the-access-key',
      secretAccessKey: 'the-access-keys-secret',
      sessionToken: 'the-session-token'
    },
    tasks: 'off',
    defaultModel: 'basement/sd-turbo',
    apiKey: 'key-of-all-the-callers',
    adminKey: 'key-of-the-operator',
    masterKey,
    previousMasterKeys: [oldKey],
    logLevel: 'warn',
    providers: [
      {
        name: 'basement',
        adapter: 'openai',
        baseUrl: 'http://127.0.0.1:1234/v1',
        apiKey: 'basement-key',
        models: ['sd-turbo', 'sd-xl'],
        headers: { 'X-Team': 'drawing' },
        maxConnections: 8,
        timeoutMs: 90_000
      },
      { name: 'sketch', adapter: 'sketch', apiKey: '', models: [], headers: {}, maxConnections: 256 }
    ],
    aliases: { 'dall-e-3': 'basement/sd-xl' },
    catalogFiles: [],
    egressAllow: ['10.1.2.0/24:443'],
    allowRequestCredentials: true,
    allowProviderKeyOnly: true,
    customHosts: ['https://llm.example.com', 'http://10.1.2.3:8000'],
    tls: { certificateFile: join(directory.path, 'certificate.pem'), keyFile: join(directory.path, 'key.pem') },
    corsOrigins: ['https://app.example.com'],
    maxInFlight: 10,
    maxBodyBytes: 2000,
    maxConnections: 30,
    drainMs: 0,
    maxRunningTasks: 2,
    maxQueuedTasks: 3,
    keepResultsSeconds: 0,
    keepTasksSeconds: 60,
    linkLifetimeSeconds: 60,
    prices: [
      {
        models: ['nano-*'],
        providers: ['google'],
        qualities: ['auto'],
        perImageMicros: 140_000,
        sizes: ['auto'],
        otherSizesFactorMicros: 1_500_000
      },
      { models: [], providers: [], qualities: [], perImageMicros: 1_000_000, sizes: [] }
    ],
    priceUnit: 'credits'
  })
})

test('the environment counts more than the file', async () => {
  const { settings } = await loadYaml(
    'listen: 127.0.0.1:1\npublic_url: http://file\ndata_dir: /file\napi_key: key-from-the-file\nadmin_key: admin-key-from-the-file\nlog_level: info',
    {
      ATELIER_LISTEN: '127.0.0.1:2',
      ATELIER_PUBLIC_URL: 'http://environment',
      ATELIER_DATA_DIR: '/environment',
      ATELIER_API_KEY: 'key-from-the-environment',
      ATELIER_ADMIN_KEY: 'admin-key-from-the-environment',
      ATELIER_MASTER_KEY: masterKey,
      ATELIER_LOG_LEVEL: 'debug'
    }
  )
  expect(settings).toMatchObject({
    listen: { host: '127.0.0.1', port: 2 },
    publicUrl: 'http://environment',
    dataDir: '/environment',
    apiKey: 'key-from-the-environment',
    adminKey: 'admin-key-from-the-environment',
    masterKey,
    logLevel: 'debug'
  })
})

test.each([
  ['PORT means every address of the machine', 'listen: 127.0.0.1:1', { PORT: '3000' }, { host: '0.0.0.0', port: 3000 }],
  [
    'ATELIER_LISTEN counts more than PORT',
    undefined,
    { PORT: '3000', ATELIER_LISTEN: 'localhost:4000' },
    { host: 'localhost', port: 4000 }
  ],
  [
    'a PORT that is none does not matter beside ATELIER_LISTEN',
    undefined,
    { PORT: 'tcp://x', ATELIER_LISTEN: '[::]:0' },
    { host: '::', port: 0 }
  ],
  ['an empty variable counts as unset', 'listen: 127.0.0.1:1', { PORT: '', ATELIER_LISTEN: ' ' }, { host: '127.0.0.1', port: 1 }]
])('%s', async (_, text, environment, listen) => {
  expect((await loadYaml(text, environment as Record<string, string>)).settings.listen).toEqual(listen)
})

test('ATELIER_CONFIG names another file', async () => {
  await using directory = await createTemporaryDirectory()
  await writeFile(join(directory.path, 'atelier.yaml'), 'log_level: warn')
  await writeFile(join(directory.path, 'other.yaml'), 'log_level: error')
  const { settings, file } = await loadConfig({ ATELIER_CONFIG: 'other.yaml' }, { directory: directory.path })
  expect([settings.logLevel, file]).toEqual(['error', 'other.yaml'])
})

test.each([
  ['a reference reads the environment', 'default_model: "${MODEL}"', 'sd-turbo'],
  ['a reference may be a part of a value', 'default_model: basement/${MODEL}-2', 'basement/sd-turbo-2'],
  ['an unset variable gives its default', 'default_model: ${ABSENT:-sd-xl}', 'sd-xl'],
  ['an empty variable gives its default', 'default_model: ${EMPTY:-sd-xl}', 'sd-xl'],
  ['a set variable does not give its default', 'default_model: ${MODEL:-sd-xl}', 'sd-turbo'],
  ['two dollar signs stand for a literal reference', 'default_model: $${MODEL}', '${MODEL}'],
  ['a lone dollar sign means itself', 'default_model: a$b', 'a$b'],
  ['what a variable holds is not read again', 'default_model: ${NESTED}', '${MODEL}']
])('%s', async (_, text, defaultModel) => {
  const { settings } = await loadYaml(text, { MODEL: 'sd-turbo', EMPTY: '', NESTED: '${MODEL}' })
  expect(settings.defaultModel).toBe(defaultModel)
})

test('a variable can hold a number or a yes or no', async () => {
  const { settings } = await loadYaml('limits: { max_in_flight: "${MAX}" }\nproviders: { sketch: { disabled: "${OFF}" } }', {
    MAX: '5',
    OFF: 'true'
  })
  expect([settings.maxInFlight, settings.providers]).toEqual([5, []])
})

test.each([
  [
    'the providers keep the order of the file, and sketch is last',
    'z: { adapter: openai }, openai: {}, a: { adapter: openai }',
    ['z', 'openai', 'a', 'sketch']
  ],
  ['sketch stays where the file places it', 'sketch: , z: { adapter: openai }', ['sketch', 'z']],
  ['sketch can be disabled', 'z: { adapter: openai }, sketch: { disabled: true }', ['z']],
  ['a disabled provider is left out', 'z: { adapter: openai, disabled: true }, openai: {}', ['openai', 'sketch']],
  ['a second sketch can have another name', 'draft: { adapter: sketch }', ['draft', 'sketch']]
])('%s', async (_, providers, names) => {
  const { settings } = await loadYaml(`providers: { ${providers} }`)
  expect(settings.providers.map((provider) => provider.name)).toEqual(names)
})

test('says for each provider what becomes of retired models, where the file says it', async () => {
  const { settings } = await loadYaml('providers: { openai: { retired: refuse }, z: { adapter: openai } }')
  expect(settings.providers.map(({ name, retired }) => [name, retired])).toEqual([
    ['openai', 'refuse'],
    ['z', undefined],
    ['sketch', undefined]
  ])
})

test('OPENAI_API_KEY adds the provider openai as the first one', async () => {
  const { settings } = await loadYaml('providers: { z: { adapter: openai } }', { OPENAI_API_KEY: 'sk-from-the-environment\n' })
  expect(settings.providers.map(({ name, apiKey, baseUrl }) => [name, apiKey, baseUrl])).toEqual([
    ['openai', 'sk-from-the-environment', undefined],
    ['z', '', undefined],
    ['sketch', '', undefined]
  ])
})

test('OPENAI_BASE_URL alone adds the provider openai too', async () => {
  const { settings } = await loadYaml(undefined, { OPENAI_BASE_URL: 'http://127.0.0.1:9/v1/' })
  expect(settings.providers.map(({ name, apiKey, baseUrl }) => [name, apiKey, baseUrl])).toEqual([
    ['openai', '', 'http://127.0.0.1:9/v1'],
    ['sketch', '', undefined]
  ])
})

test('the environment fills in only what the file leaves open of the provider openai', async () => {
  const { settings } = await loadYaml('providers: { z: { adapter: openai }, openai: { api_key: sk-from-the-file } }', {
    OPENAI_API_KEY: 'sk-from-the-environment',
    OPENAI_BASE_URL: 'http://environment/v1'
  })
  expect(settings.providers.map(({ name, apiKey, baseUrl }) => [name, apiKey, baseUrl])).toEqual([
    ['z', '', undefined],
    ['openai', 'sk-from-the-file', 'http://environment/v1'],
    ['sketch', '', undefined]
  ])
})

test.each([
  ['stability', 'STABILITY_API_KEY', 'STABILITY_BASE_URL'],
  ['google', 'GEMINI_API_KEY', 'GEMINI_BASE_URL'],
  ['azure', 'AZURE_OPENAI_API_KEY', 'AZURE_OPENAI_ENDPOINT']
])('the provider %s comes from the environment as openai does', async (name, key, address) => {
  const { settings, origins } = await loadYaml(undefined, { [key]: 'sk-from-the-environment', [address]: 'http://environment' })
  expect(settings.providers.map(({ name, adapter, apiKey, baseUrl }) => [name, adapter, apiKey, baseUrl])).toEqual([
    [name, name, 'sk-from-the-environment', 'http://environment'],
    ['sketch', 'sketch', '', undefined]
  ])
  expect([origins.get(`providers.${name}`), origins.get(`providers.${name}.base_url`)]).toEqual([key, address])
})

test('the providers of the environment come before those of the file, openai first', async () => {
  const { settings } = await loadYaml('providers: { z: { adapter: openai } }', {
    AZURE_OPENAI_API_KEY: 'a',
    AZURE_OPENAI_ENDPOINT: 'http://azure',
    GEMINI_API_KEY: 'g',
    STABILITY_API_KEY: 's',
    OPENAI_API_KEY: 'o'
  })
  expect(settings.providers.map(({ name }) => name)).toEqual(['openai', 'stability', 'google', 'azure', 'z', 'sketch'])
})

test('any name can be looked up among the aliases', async () => {
  const { settings } = await loadYaml('aliases: { constructor: openai/dall-e-3 }')
  expect([settings.aliases.constructor, settings.aliases.toString]).toEqual(['openai/dall-e-3', undefined])
})

test('anchors and aliases of YAML work', async () => {
  const { settings } = await loadYaml(
    'providers:\n  openai: &here { base_url: "http://here/v1" }\n  second: { adapter: openai }\n  third: { adapter: &a openai }\n  fourth: { adapter: *a }'
  )
  expect(settings.providers.map((provider) => provider.adapter)).toEqual(['openai', 'openai', 'openai', 'openai', 'sketch'])
})

test('an empty file says nothing', async () => {
  expect((await loadYaml('# later\n')).settings.logLevel).toBe('info')
})

test('a misspelt variable of ours is a warning, and those of others are none', async () => {
  const { warnings } = await loadYaml(undefined, {
    ATELIER_LISTN: '1',
    ATELIER_PORT: 'tcp://10.0.0.1:80',
    ATELIER_SERVICE_HOST: '10.0.0.1',
    LISTEN: '1'
  })
  expect(warnings).toEqual(['ATELIER_LISTN: unknown variable, without effect; did you mean ATELIER_LISTEN?'])
})

test('every secret is known to the log', async () => {
  const { settings } = await loadYaml('providers: { openai: { headers: { X-Secret: header-secret } } }', {
    ATELIER_API_KEY: 'key-of-all-the-callers',
    ATELIER_ADMIN_KEY: 'key-of-the-operator',
    ATELIER_MASTER_KEY: masterKey,
    ATELIER_PREVIOUS_MASTER_KEYS: oldKey,
    DATABASE_URL: 'postgres://atelier:open%2Fsesame@db.internal/atelier',
    ATELIER_S3_BUCKET: 'example-images',
    AWS_ACCESS_KEY_ID: 'the-access-key',
    AWS_SECRET_ACCESS_KEY: 'the-access-keys-secret',
    AWS_SESSION_TOKEN: 'the-session-token',
    OPENAI_API_KEY: 'sk-openai'
  })
  expect(secretsOf(settings).sort()).toEqual(
    [
      'header-secret',
      'key-of-all-the-callers',
      'key-of-the-operator',
      masterKey,
      oldKey,
      'postgres://atelier:open%2Fsesame@db.internal/atelier',
      'open%2Fsesame',
      'open/sesame',
      'the-access-keys-secret',
      'the-session-token',
      'sk-openai'
    ].sort()
  )
})

test('the example file shows every setting, and all of it is valid', async () => {
  const example = await readFile(new URL('../atelier.example.yaml', import.meta.url), 'utf8')
  const active = example.replace(/^(\s*)#(?=[a-z-])/gm, '$1')
  for (const name of fieldNames(ConfigSchema)) expect(active).toMatch(new RegExp(`^\\s*(- )?${name}:`, 'm'))
  await using directory = await createTemporaryDirectory()
  for (const name of ['certificate.pem', 'key.pem']) await writeFile(join(directory.path, name), '')
  const catalogFile = 'vendor: basement\nmodels: [{ name: sd-turbo, capabilities: {}, source: ours, checked: 2026-11-20 }]'
  await writeFile(join(directory.path, 'models.yaml'), catalogFile)
  const text = active.replaceAll('/etc/atelier', directory.path)
  const keys = {
    MY_API_KEY: 'key-of-all-the-callers',
    MY_ADMIN_KEY: 'key-of-the-operator',
    MY_MASTER_KEY: masterKey,
    MY_OLD_MASTER_KEY: oldKey,
    MY_DATABASE_PASSWORD: 'open%2Fsesame',
    MY_S3_KEY: 'the-access-key',
    MY_S3_SECRET: 'the-access-keys-secret',
    MY_S3_TOKEN: 'the-session-token',
    OPENAI_API_KEY: 'sk-1',
    AZURE_OPENAI_API_KEY: 'azure-1',
    STABILITY_API_KEY: 'sk-2',
    GEMINI_API_KEY: 'key-3'
  }
  const { settings } = await loadYaml(text, keys)
  expect(settings.providers.map((provider) => provider.name)).toEqual(['openai', 'basement', 'azure', 'stability', 'google'])
  expect((await loadYaml(example)).settings.providers.map((provider) => provider.name)).toEqual(['sketch'])
})

function fieldNames(desc: DescMessage): string[] {
  return desc.fields.flatMap((field) => [field.name, ...(field.message === undefined ? [] : fieldNames(field.message))])
}
