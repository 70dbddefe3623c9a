import { expect, test } from 'vitest'
import { CredentialKind } from '../../gen/atelier/v1/credential_pb.ts'
import type { Call, CredentialUse, ProviderChoice } from '../../src/call.ts'
import { type GatewayError, gatewayError } from '../../src/errors.ts'
import type { AttemptContext, ProviderEvent } from '../../src/providers/provider.ts'
import type { ChosenCredential } from '../../src/routing/credentials.ts'
import { createCall } from '../support/call.ts'
import { fixedCredentials } from '../support/credentials.ts'
import { createStandIn, delivered, failing, never, type StandIn, type StandInOptions } from '../support/stand-in-provider.ts'
import { createTaskMachine, endOf, type MachineProcess, orderOf, received } from '../support/task-machine.ts'

const first: ChosenCredential = { kind: 'organization', id: 'cred_1', secret: 'sk-first' }
const second: ChosenCredential = { kind: 'organization', id: 'cred_2', secret: 'sk-second' }
const platform: ChosenCredential = { kind: 'platform', id: '', secret: 'sk-platform' }

test('goes on with the next key where the provider refuses one, each call an attempt of its own', async () => {
  await using machine = await createTaskMachine()
  const { provider, keys } = accepting('sk-platform')
  const process = await machine.start(provider, { credentials: fixedCredentials(first, second, platform) })
  const { call, told } = toldCall()
  expect(await received(process.runner.run(orderOf(), call))).toEqual(['accepted', 2_000, 'completed'])
  expect(keys).toEqual(['sk-first', 'sk-second', 'sk-platform'])
  expect(await rowsOf(process)).toEqual({
    attempts: [
      [0, 'rejected', 'organization:cred_1', 0],
      [1, 'rejected', 'organization:cred_2', 0],
      [2, 'succeeded', 'platform', 40_000]
    ],
    entries: ['organization:cred_1', 'organization:cred_1', 'organization:cred_2', 'organization:cred_2', 'platform', 'platform']
  })
  expect(told).toEqual([[{ kind: 'organization', id: 'cred_1' }], [{ kind: 'organization', id: 'cred_2' }], [{ kind: 'platform', id: '' }]])
})

test('says in the end whose key served it, also when the answer is repeated', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(accepting('sk-second').provider, { credentials: fixedCredentials(first, second) })
  const request = { requestId: 'order-1' }
  expect(await credentialsOf(process, request)).toEqual([CredentialKind.ORGANIZATION])
  const { call, told } = toldCall()
  expect(await credentialsOf(process, request, call)).toEqual([CredentialKind.ORGANIZATION])
  expect(told).toEqual([[{ kind: 'organization', id: '' }]])
})

test('fails with the refusal of the last key, and nothing is billed', async () => {
  await using machine = await createTaskMachine()
  const { provider, keys } = accepting('none of them')
  const process = await machine.start(provider, { credentials: fixedCredentials(first, second) })
  expect(await received(process.runner.run(orderOf(), createCall()))).toEqual(['accepted', 'PROVIDER_KEY_REFUSED'])
  expect(keys).toEqual(['sk-first', 'sk-second'])
  const { attempts } = await rowsOf(process)
  expect(attempts.map(([, state, , cost]) => [state, cost])).toEqual([
    ['rejected', 0],
    ['rejected', 0]
  ])
})

test.each<[string, GatewayError]>([
  ['a refused request', gatewayError('PROVIDER_REJECTED', { problem: 'no' }, { outcome: 'rejected' })],
  ['a provider that is busy', gatewayError('PROVIDER_RATE_LIMITED', { provider: 'openai', problem: 'slow' }, { outcome: 'rejected' })],
  ['a provider that is not there', gatewayError('PROVIDER_UNREACHABLE', { provider: 'openai', problem: 'no' }, { outcome: 'not_sent' })],
  ['a lost answer', gatewayError('OUTCOME_UNKNOWN', { provider: 'openai', problem: 'lost' }, { outcome: 'unknown' })],
  [
    'a refusal after which something may have been made',
    gatewayError('PROVIDER_KEY_REFUSED', { provider: 'openai', problem: '?' }, { outcome: 'unknown' })
  ]
])('takes no other key after %s', async (_, error) => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: () => failing(error) })
  const process = await machine.start(provider, { credentials: fixedCredentials(first, second) })
  expect(await received(process.runner.run(orderOf(), createCall()))).toEqual(['accepted', error.reason])
  expect(provider.asked).toHaveLength(1)
})

test('without any key nothing is recorded or sent', async () => {
  await using machine = await createTaskMachine()
  const { provider, keys } = accepting('')
  const process = await machine.start(provider, { credentials: { ...fixedCredentials(), choose: () => [] } })
  expect(await received(process.runner.run(orderOf(), createCall()))).toEqual(['accepted', 'PROVIDER_KEY_MISSING'])
  expect([keys, (await rowsOf(process)).attempts]).toEqual([[], []])
})

test('every part finds its key, and all that were used are told', async () => {
  await using machine = await createTaskMachine()
  const { provider } = accepting('sk-second')
  let parts = 0
  const orders = [[first, second], [second]]
  const credentials = { ...fixedCredentials(), choose: () => orders[parts++] ?? [] }
  const process = await machine.start(provider, { credentials, maxParallel: 1 })
  const { call, told } = toldCall()
  expect(await received(process.runner.run(orderOf({ n: 2 }), call))).toEqual(['accepted', 2_000, 2_000, 'completed'])
  expect((await rowsOf(process)).attempts.map(([ordinal, state, credential]) => [ordinal, state, credential])).toEqual([
    [0, 'rejected', 'organization:cred_1'],
    [1, 'succeeded', 'organization:cred_2'],
    [0, 'succeeded', 'organization:cred_2']
  ])
  expect(told.at(-1)).toEqual([{ kind: 'organization', id: 'cred_2' }])
})

test('a background task runs later with the key that came with it, and the task says so', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(accepting('sk-brought').provider, { credentials: asChosen() })
  const call = createCall({ choice: { provider: 'openai', credential: 'sk-brought' } })
  const order = orderOf()
  const taskId = await process.runner.submit(order, { id: 'task_1', recognisedBy: order.stored, blobs: [] }, call)
  process.schedule()
  expect(await endOf(process, taskId)).toMatchObject({ state: 'succeeded', images: ['delivered'] })
  const kept = await process.store.find(taskId, 'default')
  expect(kept?.task.attempts).toMatchObject([{ credential: CredentialKind.REQUEST, credentialId: '' }])
  const row = await process.database.query.selectFrom('tasks').select('request').executeTakeFirstOrThrow()
  expect(Buffer.from(row.request).includes('sk-brought')).toBe(false)
})

test('what an earlier process has begun is gone on with by its own key', async () => {
  await using machine = await createTaskMachine()
  const keys: string[] = []
  const began = idempotent(() => never)
  const dead = await machine.start(began, { credentials: fixedCredentials(second, platform) })
  const taskId = await dead.submit(orderOf())
  dead.schedule()
  await began.askedFor(1)
  const resumed = idempotent((context) => {
    keys.push(context.credential)
    return delivered({ n: 1 })
  })
  const heir = await machine.start(resumed, { credentials: fixedCredentials(first, second, platform) })
  heir.schedule()
  expect(await endOf(heir, taskId)).toMatchObject({ state: 'succeeded', imbalances: [] })
  expect(keys).toEqual(['sk-second'])
})

test('what was begun with a key that is gone is not begun again with another one', async () => {
  await using machine = await createTaskMachine()
  const began = idempotent(() => never)
  const dead = await machine.start(began, { credentials: fixedCredentials(second) })
  const taskId = await dead.submit(orderOf())
  dead.schedule()
  await began.askedFor(1)
  const later = idempotent(() => delivered({ n: 1 }))
  const heir = await machine.start(later, { credentials: fixedCredentials(first, platform) })
  heir.schedule()
  expect(await endOf(heir, taskId)).toMatchObject({ state: 'interrupted', attempts: ['unknown 40000'], imbalances: [] })
  expect(later.asked).toEqual([])
})

test('that a key is refused by now says nothing about what was begun with it before', async () => {
  await using machine = await createTaskMachine()
  const began = idempotent(() => never)
  const dead = await machine.start(began, { credentials: fixedCredentials(first, platform) })
  const taskId = await dead.submit(orderOf())
  dead.schedule()
  await began.askedFor(1)
  const later = idempotent(() => failing(refusedKey()))
  const heir = await machine.start(later, { credentials: fixedCredentials(first, platform) })
  heir.schedule()
  expect(await endOf(heir, taskId)).toMatchObject({ state: 'interrupted', attempts: ['unknown 40000'], imbalances: [] })
  expect(later.asked).toHaveLength(1)
})

function refusedKey(): GatewayError {
  return gatewayError('PROVIDER_KEY_REFUSED', { provider: 'openai', problem: 'unknown key' }, { outcome: 'rejected' })
}

/** A provider that refuses every key but one, and the keys that it was called with. */
function accepting(key: string): { provider: StandIn; keys: string[] } {
  const keys: string[] = []
  const provider = createStandIn({
    run({ n }, { credential }) {
      keys.push(credential)
      return credential === key ? delivered({ n }) : failing(refusedKey())
    }
  })
  return { provider, keys }
}

function idempotent(run: (context: AttemptContext) => AsyncIterable<ProviderEvent>): StandIn {
  return createStandIn({ recovery: 'idempotent', run: (_, context) => run(context) } satisfies StandInOptions)
}

/** The key that came with the request. */
function asChosen() {
  const choose = (_organizationId: string, _provider: string, choice?: ProviderChoice): ChosenCredential[] =>
    choice?.credential === undefined ? [] : [{ kind: 'request', id: '', secret: choice.credential }]
  return { ...fixedCredentials(), choose }
}

function toldCall(): { call: Call; told: (readonly CredentialUse[])[] } {
  const told: (readonly CredentialUse[])[] = []
  return { call: createCall({ calledWith: (credentials) => void told.push(credentials) }), told }
}

async function credentialsOf(process: MachineProcess, request: { requestId: string }, call = createCall()) {
  let credentials: CredentialKind[] | undefined
  for await (const event of process.runner.run(orderOf(request), call)) {
    if (event.kind === 'image' && 'read' in event.image) for await (const _ of event.image.read('bytes'));
    if (event.kind === 'completed') credentials = event.credentials
  }
  return credentials
}

/** Attempts as [ordinal, state, credential, cost], and the credentials of the bookings. */
async function rowsOf({ database: { query } }: MachineProcess) {
  const columns = ['part', 'ordinal', 'state', 'credential', 'cost_micros'] as const
  const attempts = await query.selectFrom('attempts').select(columns).orderBy('part').orderBy('ordinal').execute()
  const entries = await query.selectFrom('ledger_entries').select('credential').orderBy('credential').execute()
  return {
    attempts: attempts.map(({ ordinal, state, credential, cost_micros }) => [ordinal, state, credential, cost_micros]),
    entries: entries.map(({ credential }) => credential)
  }
}
