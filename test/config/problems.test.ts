// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the configuration's references look like this
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ProviderConfigSchema } from '../../gen/atelier/v1/config_pb.ts'
import { allowedWords, alternatives } from '../../src/config/schema-rules.ts'
import { loadConfig } from '../../src/config.ts'
import { loadYaml, problemsOf } from '../support/config-file.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const adapters = alternatives(allowedWords(ProviderConfigSchema.field.adapter))

test.each([
  ['listen: here', '1:1 listen: must be host:port, such as 127.0.0.1:8080 or [::1]:8080 (got "here")'],
  ['providers: { openai: { retired: revive } }', '1:24 providers.openai.retired: must be replace, forward or refuse (got "revive")'],
  ['listen: localhost:65536', '1:1 listen: the port must be from 0 to 65535 (got "localhost:65536")'],
  ['public_url: images.example.com', '1:1 public_url: must be an http or https URL without query and fragment (got "images.example.com")'],
  ['public_url: http://[x', '1:1 public_url: is not a valid URL (got "http://[x")'],
  ['data_dir: ""', '1:1 data_dir: must not be empty (got "")'],
  ['default_model: 3', '1:1 default_model: must be text: put the value in quotes'],
  ['log_level: loud', '1:1 log_level: must be trace, debug, info, warn, error, fatal or silent (got "loud")'],
  ['link_lifetime_seconds: 0', '1:1 link_lifetime_seconds: must be a whole number from 1 to 604800 (got "0")'],
  ['limits:\n  max_in_flight: many', '2:3 limits.max_in_flight: must be a whole number from 1 to 1000000 (got "many")'],
  ['limits:\n  drain_seconds: 1.5', '2:3 limits.drain_seconds: must be a whole number from 0 to 3600 (got "1.5")'],
  ['limits: 3', '1:1 limits: must be a mapping of keys to values, not a single value'],
  ['limits: { max_connection: 3 }', '1:11 limits.max_connection: unknown key; did you mean max_connections?'],
  [
    'limits: { zoom: 3 }',
    '1:11 limits.zoom: unknown key; the keys here are max_in_flight, max_body_bytes, max_connections, drain_seconds, max_running_tasks, max_queued_tasks'
  ],
  [
    'providers:\n  basement:\n    adapter: openai\n    base_url: 10.0.0.1:1234',
    '4:5 providers.basement.base_url: must be an http or https URL without query and fragment (got "10.0.0.1:1234")'
  ],
  ['providers: { basement: {} }', `1:14 providers.basement.adapter: must be ${adapters}, as the provider is called basement`],
  ['providers: { basement: { adapter: opena } }', `1:26 providers.basement.adapter: must be ${adapters} (got "opena")`],
  [
    'providers: { Basement: { adapter: openai } }',
    '1:14 providers.Basement: the name must begin with a letter and hold only lower-case letters, digits, - and _, at most 63'
  ],
  ['providers: { __proto__: { adapter: openai } }', '1:14 providers.__proto__: is not allowed as a name'],
  ['providers: { openai: { disabled: yes } }', '1:24 providers.openai.disabled: must be true or false (got "yes")'],
  ['providers: { openai: { models: dall-e-3 } }', '1:24 providers.openai.models: must be a list, not a single value'],
  [
    'providers: { openai: { models: [a, ] , headers: [] } }',
    '1:40 providers.openai.headers: must be a mapping of keys to values, not a list'
  ],
  [
    'providers: { openai: { models: [a, "b c"] } }',
    '1:36 providers.openai.models[1]: must be the name of a model, without spaces (got "b c")'
  ],
  ['providers: { openai: { models: [a, null] } }', '1:36 providers.openai.models[1]: must not be empty'],
  ['providers: { openai: { headers: { Host: x } } }', '1:35 providers.openai.headers.Host: is set by the server itself'],
  ['providers: { openai: { headers: { "a b": x } } }', '1:35 providers.openai.headers.a b: is not a valid header name and value'],
  [
    'providers: { azure: { api_key: x } }',
    '1:14 providers.azure.base_url: must be set, to the address of the Azure resource, such as https://my-resource.openai.azure.com'
  ],
  [
    'providers: { azure: { base_url: "https://a.openai.azure.com/openai/deployments/paint" } }',
    '1:23 providers.azure.base_url: must be the address of the resource alone: `deployments` names what is deployed there (got "https://a.openai.azure.com/openai/deployments/paint")'
  ],
  [
    'providers: { azure: { base_url: "https://a.openai.azure.com?api-version=preview" } }',
    '1:23 providers.azure.base_url: must be an http or https URL without query and fragment (got "https://a.openai.azure.com?api-version=preview")'
  ],
  [
    'providers: { azure: { base_url: "https://a.openai.azure.com", auth: entra } }',
    '1:63 providers.azure.auth: must be api_key or bearer (got "entra")'
  ],
  [
    'providers: { azure: { base_url: "https://a.openai.azure.com", api_version: "1&2" } }',
    '1:63 providers.azure.api_version: must be a version such as 2025-04-01-preview (got "1&2")'
  ],
  [
    'providers: { azure: { base_url: "https://a.openai.azure.com", deployments: { gpt-image-1: a/b } } }',
    '1:78 providers.azure.deployments.gpt-image-1: must be a deployment\'s name: letters, digits, -, _ and ., at most 64 (got "a/b")'
  ],
  [
    'providers: { openai: { deployments: { gpt-image-1: paint } } }',
    '1:24 providers.openai.deployments: has no use with the adapter openai'
  ],
  ['providers: { sketch: { api_key: x } }', '1:24 providers.sketch.api_key: has no use with the adapter sketch, which calls nobody'],
  ['aliases: { dall-e-3: }', '1:12 aliases.dall-e-3: must not be empty'],
  ['aliases: { dall-e-3: "" }', '1:12 aliases.dall-e-3: must be the name of a model, without spaces (got "")'],
  ['aliases: { dall-e-3: dall-e-3 }', '1:12 aliases.dall-e-3: must not lead to itself (got "dall-e-3")'],
  ['allow_provider_key_only: true', '1:1 allow_provider_key_only: needs allow_request_credentials: true (got "true")'],
  ['custom_hosts: ["https://llm.example.com"]', '1:1 custom_hosts: needs allow_request_credentials: true'],
  [
    'allow_request_credentials: true\ncustom_hosts: ["https://llm.example.com/v1"]',
    '2:16 custom_hosts[0]: must be an origin such as https://llm.example.com, without a path (got "https://llm.example.com/v1")'
  ],
  ['allow_request_credentials: true\ncustom_hosts: ["http://[x"]', '2:16 custom_hosts[0]: is not a valid URL (got "http://[x")'],
  [
    'egress: { allow: ["10.0.0.0/8"] }',
    '1:19 egress.allow[0]: it must be an address, a network or a host name, then a colon and a port (got "10.0.0.0/8")'
  ],
  ['tls: { key_file: /dev/null }', '1:1 tls.certificate_file: must name a PEM file, as tls needs both files'],
  [
    'tls: { certificate_file: /dev/null, key_file: absent.pem }',
    '1:37 tls.key_file: there is no such file, or it may not be read (got "absent.pem")'
  ],
  ['prices: { per_image: 1 }', '1:1 prices: must be a list, not a mapping'],
  ['prices: [{ models: [a] }]', '1:10 prices[0].per_image: must be set, to a number from 0 to 1000000'],
  ['prices: [{ per_image: -1 }]', '1:12 prices[0].per_image: must be set, to a number from 0 to 1000000 (got "-1")'],
  ['prices: [{ per_image: dear }]', '1:12 prices[0].per_image: must be a number (got "dear")'],
  ['prices: [{ per_image: 0.1234567 }]', '1:12 prices[0].per_image: must have at most six decimals (got "0.1234567")'],
  ['prices: [{ per_image: 1, sizes: [1k] }]', '1:34 prices[0].sizes[0]: must be WIDTHxHEIGHT or auto (got "1k")'],
  [
    'prices: [{ per_image: 1, qualities: [best] }]',
    '1:38 prices[0].qualities[0]: must be auto, standard, hd, low, medium, high, xhigh or max (got "best")'
  ],
  [
    'prices: [{ per_image: 1, other_sizes_factor: 2 }]',
    '1:26 prices[0].other_sizes_factor: has no use without sizes: the rule is for every size (got "2")'
  ],
  ['cors: { allow_origins: [app] }', '1:25 cors.allow_origins[0]: must be an origin such as https://app.example.com, or "*" (got "app")'],
  ['default_model: ${NAME}', '1:1 default_model: the environment variable NAME is not set; ${NAME:-} stands for nothing where it is unset'],
  [
    'default_model: ${na me}',
    '1:1 default_model: a reference must read ${NAME} or ${NAME:-default}; write $${ where ${ is meant literally'
  ],
  ['- listen', '1:1 the file must be a mapping of keys to values, not a list'],
  ['listen: a\nlisten: b', '2:1 not valid YAML: this key appears twice'],
  ['listen: [', '1:10 not valid YAML: flow sequence in block collection must be sufficiently indented and end with a ]'],
  ['limits:\n\tdrain_seconds: 1', '2:1 not valid YAML: tabs are not allowed as indentation'],
  ['listen: *here', '1:9 listen: there is no anchor of this name before it'],
  ['listen: a\n---\nlisten: b', '2:1 not valid YAML: the file must hold one document'],
  ['listen: !env HOST', '1:9 not valid YAML: tags are not supported here'],
  [
    'providers: { openai: { api_key: ${KEY} } }',
    '1:34 not valid YAML: unexpected flow-map-start at node end; inside { } a value that holds ${…} must be in quotes'
  ]
])('%s', async (text, problem) => {
  expect(await problemsOf(text)).toEqual([`atelier.yaml:${problem}`])
})

test.each([
  [{ PORT: 'http' }, 'PORT listen: must be host:port, such as 127.0.0.1:8080 or [::1]:8080 (got "http")'],
  [{ ATELIER_LISTEN: '8080' }, 'ATELIER_LISTEN listen: must be host:port, such as 127.0.0.1:8080 or [::1]:8080 (got "8080")'],
  [{ ATELIER_LOG_LEVEL: 'loud' }, 'ATELIER_LOG_LEVEL log_level: must be trace, debug, info, warn, error, fatal or silent (got "loud")'],
  [
    { OPENAI_BASE_URL: 'openai' },
    'OPENAI_BASE_URL providers.openai.base_url: must be an http or https URL without query and fragment (got "openai")'
  ],
  [{ ATELIER_CONFIG: 'absent.yaml' }, 'ATELIER_CONFIG: absent.yaml: there is no such file']
])('a bad value in the environment is reported by the name of its variable: %o', async (environment, problem) => {
  expect(await problemsOf(undefined, environment as Record<string, string>)).toEqual([problem])
})

test('all problems are reported at once, in the order of the file', async () => {
  const text =
    'log_level: loud\nlisten: here\nproviders:\n  basement: { adapter: x, modls: [] }\n  openai: { max_connections: 0 }\nextra: 1\n'
  expect(await problemsOf(text, { PORT: '99999', ATELIER_MASTER_KEY: 'short' })).toEqual([
    'ATELIER_MASTER_KEY master_key: must be 32 bytes in base64, 44 characters with the = at the end; `openssl rand -base64 32` makes one',
    'PORT listen: the port must be from 0 to 65535 (got "99999")',
    'atelier.yaml:1:1 log_level: must be trace, debug, info, warn, error, fatal or silent (got "loud")',
    `atelier.yaml:4:15 providers.basement.adapter: must be ${adapters} (got "x")`,
    'atelier.yaml:4:27 providers.basement.modls: unknown key; did you mean models?',
    'atelier.yaml:5:13 providers.openai.max_connections: must be a whole number from 1 to 10000 (got "0")',
    'atelier.yaml:6:1 extra: unknown key; the keys here are listen, public_url, data_dir, default_model, api_key, admin_key, master_key, log_level, providers, aliases, egress, tls, cors, limits, link_lifetime_seconds, prices, price_unit, catalog_files, tasks, database_url, s3, previous_master_keys, keep_results_for_seconds, keep_tasks_for_seconds, monthly_budget_usd, unknown_price_usd, allow_request_credentials, allow_provider_key_only, custom_hosts'
  ])
})

const secret = 'hunter2-hunter2 hunter2'

test.each([
  `api_key: "${secret}"`,
  `admin_key: [${secret}]`,
  `limits: { drain_seconds: [${secret}] }`,
  `providers: { openai: { api_key: "${secret}" } }`,
  `providers: { openai: { api_key: { key: ${secret} } } }`,
  `providers: { openai: { headers: { Bad Name: ${secret} } } }`,
  `providers: { openai: { base_url: "https://user:${secret.replace(' ', '')}@example.com?x" } }`,
  `providers: { openai: ${secret} }`,
  `database_url: "postgres://user:${secret.replace(' ', '')}@"`,
  `database_url: "postgres://user:1/${secret.replace(' ', '')}@host/db"`,
  `database_url: "postgres://user:${secret}@host/db"`,
  `database_url: "mysql://user:${secret.replace(' ', '')}@host/db"`,
  `s3: { bucket: abc, access_key_id: "${secret}", secret_access_key: "${secret}", session_token: "${secret}" }`,
  `s3: { bucket: abc, endpoint: "https://user:${secret.replace(' ', '')}@example.com" }`,
  `previous_master_keys: ["${secret}"]`,
  `previous_master_keys: [[${secret}]]`,
  `aliases: { a b: "$\{SECRET}" }`,
  `api_key: "${secret}`,
  `api_key: '${secret}' ${secret}`,
  `api_key: @${secret}`,
  `api_key: |${secret}`,
  `api_key: *${secret}`,
  `api_key: !${secret}`,
  `api_key: {${secret}]`,
  `%${secret}\n---\nlisten: x`,
  secret
])('no problem shows a secret: %s', async (text) => {
  const problems = await problemsOf(text, { SECRET: secret, ATELIER_MASTER_KEY: secret })
  expect(problems.length).toBeGreaterThan(1)
  expect(problems.join('\n')).not.toContain('hunter2')
})

test('a file with more values than any configuration has is refused, however it makes them', async () => {
  const list = `&a [${'x, '.repeat(500)}]`
  const providers = Array.from({ length: 500 }, (_, index) => `p${index}: { adapter: openai, models: ${index === 0 ? list : '*a'} }`)
  expect(await problemsOf(`providers: { ${providers.join(', ')} }`)).toEqual([
    'atelier.yaml:1:1 holds more than 20000 values, counting those behind aliases each time'
  ])
})

test('a file that nests deeper than the parser can go is refused', async () => {
  expect(await problemsOf('['.repeat(50_000))).toEqual([expect.stringMatching(/^atelier.yaml:1:\d+ not valid YAML: it nests too deeply$/)])
})

test('every variable that a value lacks is named', async () => {
  expect(await problemsOf('default_model: ${A}/${B}')).toEqual([
    'atelier.yaml:1:1 default_model: the environment variable A is not set; ${A:-} stands for nothing where it is unset; the environment variable B is not set; ${B:-} stands for nothing where it is unset'
  ])
})

test('an anchor that holds itself is refused', async () => {
  expect(await problemsOf('providers: &p\n  openai: *p')).toEqual([
    expect.stringMatching(/^atelier.yaml:2:3 providers.openai.openai: unknown key; the keys here are adapter, /)
  ])
})

test('a file that is no text, too large, or no file is refused', async () => {
  await using directory = await createTemporaryDirectory()
  await writeFile(join(directory.path, 'latin1.yaml'), Buffer.from([0x61, 0xe4, 0x3a]))
  await writeFile(join(directory.path, 'large.yaml'), Buffer.alloc(1_048_577, '#'))
  await mkdir(join(directory.path, 'folder.yaml'))
  const problems = ['latin1.yaml', 'large.yaml', 'folder.yaml'].map((name) =>
    loadConfig({ ATELIER_CONFIG: name }, { directory: directory.path }).then(String, (error: Error) => error.message)
  )
  expect(await Promise.all(problems)).toEqual([
    'ATELIER_CONFIG: latin1.yaml: is not valid UTF-8',
    'large.yaml: is 1048577 bytes long; the limit is 1048576',
    'ATELIER_CONFIG: folder.yaml: is a directory, and must be a file'
  ])
})

test('the environment says by true and false, and in a list, what callers may bring', async () => {
  const environment = {
    ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true',
    ATELIER_ALLOW_PROVIDER_KEY_ONLY: 'false',
    ATELIER_CUSTOM_HOSTS: 'https://llm.example.com, http://10.1.2.3:8000,'
  }
  const { settings, warnings } = await loadYaml('allow_provider_key_only: true', environment)
  const { allowRequestCredentials, allowProviderKeyOnly, customHosts } = settings
  expect([allowRequestCredentials, allowProviderKeyOnly, customHosts, warnings]).toEqual([
    true,
    false,
    ['https://llm.example.com', 'http://10.1.2.3:8000'],
    []
  ])
  expect(await problemsOf(undefined, { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'yes' })).toEqual([
    'ATELIER_ALLOW_REQUEST_CREDENTIALS allow_request_credentials: must be true or false (got "yes")'
  ])
  expect(await problemsOf(undefined, { ...environment, ATELIER_CUSTOM_HOSTS: 'https://llm.example.com,llm.example.com' })).toEqual([
    'ATELIER_CUSTOM_HOSTS custom_hosts[1]: must be an origin such as https://llm.example.com, without a path (got "llm.example.com")'
  ])
})
