import { expect, test } from 'vitest'
import { createLog } from '../../src/log.ts'
import { type Credentials, createCredentials } from '../../src/routing/credentials.ts'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { createLiveCopies, type LiveCopies } from '../../src/storage/live-copies.ts'
import type { CredentialRow, OrganizationRow } from '../../src/storage/schema.ts'
import { createSealer } from '../../src/storage/seal.ts'
import { testKey } from '../support/task-stores.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const platformOpenAI = { kind: 'platform', id: '', secret: 'sk-platform' }
const own = (name: string) => ({ kind: 'organization', id: `cred_${name}`, secret: `sk-${name}` })

test('the platform serves an organization that has nothing of its own', async () => {
  await using stored = await open()
  expect(stored.credentials.choose('default', 'openai')).toEqual([platformOpenAI])
  expect(stored.credentials.choose('unheard-of', 'openai')).toEqual([platformOpenAI])
})

test.each([
  ['when_missing', [own('first')], [platformOpenAI]],
  ['never', [own('first')], []],
  ['also_when_refused', [own('first'), platformOpenAI], [platformOpenAI]]
] as const)('with the policy %s', async (policy, withOwn, withoutOwn) => {
  await using stored = await open()
  await stored.add({ organization: 'acme', policy, credentials: [{ name: 'first' }] })
  await stored.add({ organization: 'poor', policy, credentials: [{ name: 'elsewhere', provider: 'google' }] })
  expect(stored.credentials.choose('acme', 'openai')).toEqual(withOwn)
  expect(stored.credentials.choose('poor', 'openai')).toEqual(withoutOwn)
})

test('a provider that asks for no key is called with none, whatever the policy', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', policy: 'never' })
  expect(stored.credentials.choose('acme', 'mirror')).toEqual([{ kind: 'none', id: '', secret: '' }])
})

test('there is no key for a provider that asks for one and has none, nor for one that is not configured', async () => {
  await using stored = await open()
  expect([stored.credentials.choose('default', 'google'), stored.credentials.choose('default', 'nobody')]).toEqual([[], []])
})

test('no organization gets the credentials of another one', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', credentials: [{ name: 'first' }] })
  await stored.add({ organization: 'rival' })
  expect(stored.credentials.choose('rival', 'openai')).toEqual([platformOpenAI])
  expect(stored.credentials.choose('rival', 'openai', { credentialName: 'first' })).toEqual([])
  expect(stored.credentials.find({ kind: 'organization', id: 'cred_first' }, 'rival', 'openai')).toBeUndefined()
  expect([stored.credentials.namesOf('rival'), stored.credentials.providerOf('rival', 'first')]).toEqual([[], undefined])
})

test('several credentials come first as often as their weights say, and the others after them', async () => {
  await using stored = await open({ random: seededRandom(7) })
  await stored.add({
    organization: 'acme',
    credentials: [
      { name: 'often', weight: 3 },
      { name: 'seldom', weight: 1 }
    ]
  })
  const orders = Array.from({ length: 4_000 }, () => stored.credentials.choose('acme', 'openai').map(({ id }) => id))
  const often = orders.filter(([first]) => first === 'cred_often').length
  expect(orders.every((order) => order.length === 2 && new Set(order).size === 2)).toBe(true)
  expect(often / orders.length).toBeGreaterThan(0.72)
  expect(often / orders.length).toBeLessThan(0.78)
})

test('one of weight 0 is there only for requests that name it', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', credentials: [{ name: 'pinned', weight: 0 }] })
  expect(stored.credentials.choose('acme', 'openai')).toEqual([platformOpenAI])
  expect(stored.credentials.choose('acme', 'openai', { credentialName: 'pinned' })).toEqual([own('pinned')])
})

test('a named credential is the only one, and only for its provider', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', policy: 'also_when_refused', credentials: [{ name: 'first' }, { name: 'second' }] })
  const choice = { credentialName: 'second' }
  expect(stored.credentials.choose('acme', 'openai', choice)).toEqual([own('second')])
  expect(stored.credentials.choose('acme', 'mirror', choice)).toEqual([])
  expect(stored.credentials.callable('acme', choice)).toEqual(['openai'])
  expect(stored.credentials.choose('acme', 'openai', { credentialName: 'third' })).toEqual([])
})

test('a key that came with the request is the only one, and goes to no provider that it is not for', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', policy: 'also_when_refused', credentials: [{ name: 'first' }] })
  const choice = { provider: 'google', credential: 'AIza-brought' }
  expect(stored.credentials.choose('acme', 'google', choice)).toEqual([{ kind: 'request', id: '', secret: 'AIza-brought' }])
  expect(stored.credentials.choose('acme', 'openai', choice)).toEqual([])
  expect(stored.credentials.choose('acme', 'openai', { credential: 'AIza-brought' })).toEqual([])
  expect(stored.credentials.callable('acme', choice)).toEqual(['google'])
})

test('no key is for another provider than the one that the request chose', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', credentials: [{ name: 'first' }] })
  expect(stored.credentials.choose('acme', 'openai', { provider: 'openai' })).toEqual([own('first')])
  expect(stored.credentials.choose('acme', 'mirror', { provider: 'openai' })).toEqual([])
  expect(stored.credentials.callable('acme', { provider: 'mirror' })).toEqual(['mirror'])
})

test('no stored key goes to a host that the caller chose', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', policy: 'also_when_refused', credentials: [{ name: 'first' }] })
  const customHost = 'https://elsewhere.example'
  expect(stored.credentials.choose('acme', 'openai', { provider: 'openai', customHost })).toEqual([])
  expect(stored.credentials.choose('acme', 'openai', { credentialName: 'first', customHost })).toEqual([])
  expect(stored.credentials.choose('acme', 'mirror', { provider: 'mirror', customHost })).toEqual([])
})

test('the providers that an organization can call are those it has a key for', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', policy: 'never', credentials: [{ name: 'g', provider: 'google' }] })
  expect(stored.credentials.callable('default')).toEqual(['openai', 'mirror'])
  expect(stored.credentials.callable('acme')).toEqual(['mirror', 'google'])
})

test('the key of an earlier call is found again as long as it is there, and no other in its place', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', credentials: [{ name: 'first' }] })
  const { find } = stored.credentials
  expect(find({ kind: 'organization', id: 'cred_first' }, 'acme', 'openai')).toEqual(own('first'))
  expect(find({ kind: 'organization', id: 'cred_first' }, 'acme', 'google')).toBeUndefined()
  expect(find({ kind: 'organization', id: 'cred_gone' }, 'acme', 'openai')).toBeUndefined()
  expect(find({ kind: 'platform', id: '' }, 'acme', 'openai')).toEqual(platformOpenAI)
  expect(find({ kind: 'platform', id: '' }, 'acme', 'mirror')).toBeUndefined()
  expect(find({ kind: 'none', id: '' }, 'acme', 'mirror')).toEqual({ kind: 'none', id: '', secret: '' })
  expect(find({ kind: 'request', id: '' }, 'acme', 'openai')).toBeUndefined()
  const choice = { provider: 'openai', credential: 'sk-brought' }
  expect(find({ kind: 'request', id: '' }, 'acme', 'openai', choice)).toEqual({ kind: 'request', id: '', secret: 'sk-brought' })
})

test('one that cannot be opened is logged without its key, and no other takes its place', async () => {
  const lines: string[] = []
  await using stored = await open({ log: createLog({ level: 'info', destination: { write: (line) => lines.push(line) } }) })
  await stored.add({ organization: 'acme', credentials: [{ name: 'first', sealedFor: 'another-row' }] })
  expect(stored.credentials.choose('acme', 'openai')).toEqual([])
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({ credential: 'cred_first', msg: 'a credential cannot be read and is not used: set it again' })
  ])
})

test('notes uses in memory, and writes them at the end', async () => {
  await using stored = await open()
  await stored.add({ organization: 'acme', credentials: [{ name: 'first' }, { name: 'second' }] })
  const beforeMs = Date.now()
  stored.credentials.recordUse({ kind: 'organization', id: 'cred_first' })
  stored.credentials.recordUse({ kind: 'platform', id: '' })
  expect(stored.credentials.unwrittenUse('cred_first')).toBeGreaterThanOrEqual(beforeMs)
  await stored.credentials[Symbol.asyncDispose]()
  const rows = await stored.database.query.selectFrom('credentials').select(['id', 'last_used_at_ms']).orderBy('id').execute()
  expect(rows.map(({ id, last_used_at_ms }) => [id, (last_used_at_ms ?? 0) >= beforeMs])).toEqual([
    ['cred_first', true],
    ['cred_second', false]
  ])
})

/** Mulberry32. */
function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Addition {
  organization: string
  policy?: OrganizationRow['platform_credentials']
  credentials?: readonly { name: string; provider?: string; weight?: number; sealedFor?: string }[]
}

interface Stored extends AsyncDisposable {
  credentials: Credentials
  database: Database
  add(addition: Addition): Promise<void>
}

async function open(options: { random?: () => number; log?: ReturnType<typeof createLog> } = {}): Promise<Stored> {
  const { log = createLog({ level: 'silent' }), ...random } = options
  const parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const database = parts.use(await openDatabase({ dataDir: directory.path }))
  const copies: LiveCopies = parts.use(await createLiveCopies({ database }))
  const sealer = createSealer({ keys: () => [testKey(3)] })
  const platform = [
    { provider: 'openai', apiKey: 'sk-platform', asksForKey: true },
    { provider: 'mirror', apiKey: '', asksForKey: false },
    { provider: 'google', apiKey: '', asksForKey: true }
  ]
  const credentials = parts.use(await createCredentials({ platform }, { database, copies, sealer, log, ...random }))
  return {
    credentials,
    database,
    async add({ organization, policy = 'when_missing', credentials = [] }) {
      const { query } = database
      const nowMs = Date.now()
      const values = { id: organization, name: organization, created_at_ms: nowMs, platform_credentials: policy }
      const rows = credentials.map(({ name, provider = 'openai', weight = 1, sealedFor }): CredentialRow => {
        const id = `cred_${name}`
        const context = { purpose: 'credential', organizationId: organization, id: sealedFor ?? id } as const
        const secret = sealer.seal(Buffer.from(`sk-${name}`), context)
        const times = { created_at_ms: nowMs, set_at_ms: nowMs, last_used_at_ms: null }
        return { id, organization_id: organization, provider, name, weight, secret, hint: '', ...times }
      })
      const inserts = rows.map((row) => ({ query: query.insertInto('credentials').values(row) }))
      await copies.change([{ query: query.insertInto('organizations').values(values) }, ...inserts])
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync()
  }
}
