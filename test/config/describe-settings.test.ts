import { expect, test } from 'vitest'
import { describeSettings, maskSecret } from '../../src/config/describe-settings.ts'
import { loadYaml } from '../support/config-file.ts'

const text = `listen: 127.0.0.1:1
data_dir: /var/lib/atelier
api_key: sk-atelier-abcdefgh1234
providers:
  basement: { adapter: openai, models: [sd-turbo], headers: { X-Team: drawing-department } }
aliases: { dall-e-3: basement/sd-turbo }
limits: { drain_seconds: 5 }
`

test('the effective configuration names the origin of every value and masks secrets', async () => {
  const loaded = await loadYaml(text, { ATELIER_LISTEN: '[::1]:2', OPENAI_API_KEY: 'sk-abcdefghijklmf3c9' })
  expect(describeSettings(loaded)).toBe(`listen: "[::1]:2" # ATELIER_LISTEN
data_dir: /var/lib/atelier # atelier.yaml:2:1
tasks: on # default
default_model: dall-e-3 # default
api_key: sk-…1234 # atelier.yaml:3:1
log_level: info # default
providers:
  openai:
    adapter: openai # default
    api_key: sk-…f3c9 # OPENAI_API_KEY
    max_connections: 256 # default
  basement:
    adapter: openai # atelier.yaml:5:15
    models:
      - sd-turbo # atelier.yaml:5:41
    headers:
      X-Team: …ment # atelier.yaml:5:63
    max_connections: 256 # default
  sketch:
    adapter: sketch # default
    max_connections: 256 # default
aliases:
  dall-e-3: basement/sd-turbo # atelier.yaml:6:12
allow_request_credentials: false # default
allow_provider_key_only: false # default
limits:
  max_in_flight: 2048 # default
  max_body_bytes: 1048576 # default
  max_connections: 10000 # default
  drain_seconds: 5 # atelier.yaml:7:11
  max_running_tasks: 64 # default
  max_queued_tasks: 100000 # default
keep_results_for_seconds: 600 # default
keep_tasks_for_seconds: 604800 # default
link_lifetime_seconds: 3600 # default
`)
})

const stores = `database_url: "postgres://atelier:open%2Fsesame@db.internal/atelier?sslmode=verify-full"
s3: { bucket: example-images, access_key_id: the-access-key, secret_access_key: the-access-keys-secret, session_token: the-session-token }
tasks: off
master_key: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
previous_master_keys: [QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=]
`

test('of what opens the stores only the last characters are shown, of a password of the database none', async () => {
  const described = describeSettings(await loadYaml(stores))
  expect(described.split('\n').slice(2, 14)).toEqual([
    'database_url: postgres://atelier:…@db.internal/atelier?sslmode=verify-full # atelier.yaml:1:1',
    's3:',
    '  bucket: example-images # atelier.yaml:2:7',
    '  region: us-east-1 # default',
    '  access_key_id: …-key # atelier.yaml:2:31',
    '  secret_access_key: …cret # atelier.yaml:2:62',
    '  session_token: …oken # atelier.yaml:2:105',
    'tasks: off # atelier.yaml:3:1',
    'default_model: dall-e-3 # default',
    'master_key: …Hh8= # atelier.yaml:4:1',
    'previous_master_keys:',
    '  - …Xl8= # atelier.yaml:5:24'
  ])
})

const prices = 'prices: [{ models: [a*], sizes: [auto], per_image: 0.14, other_sizes_factor: 1.5 }, { per_image: 2 }]\nprice_unit: credits'

const azure = '  azure: { base_url: http://a, api_version: v1, deployments: { gpt-image-2: paint }, auth: bearer }'

test('what is described can be loaded again', async () => {
  const { settings } = await loadYaml(
    `${stores}${text.replace('aliases:', `${azure}\naliases:`)}public_url: http://here\negress: { allow: ["10.0.0.1:80"] }\nallow_request_credentials: true\ncustom_hosts: ["https://llm.example.com"]\ncors: { allow_origins: ["*"] }\n${prices}`
  )
  const described = describeSettings({ settings, origins: new Map() })
    .replace('sk-…1234', 'sk-atelier-abcdefgh1234')
    .replace('…ment', 'drawing-department')
    .replace('atelier:…@', 'atelier:open%2Fsesame@')
    .replace('…-key', 'the-access-key')
    .replace('…cret', 'the-access-keys-secret')
    .replace('…oken', 'the-session-token')
    .replace('…Hh8=', 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=')
    .replace('…Xl8=', 'QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=')
  expect((await loadYaml(described)).settings).toEqual(settings)
})

test.each([
  ['sk-abcdefghijklmf3c9', 'sk-…f3c9'],
  ['abcdefgh1234', '…1234'],
  ['abcdefgh123', '…'],
  ['sk-1234', '…']
])('the secret %s is shown as %s', (secret, shown) => {
  expect(maskSecret(secret)).toBe(shown)
})
