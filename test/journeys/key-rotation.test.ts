import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, createClient } from '@connectrpc/connect'
import { describe, expect, test } from 'vitest'
import { ContentPolicyService } from '../../gen/atelier/v1/content_policy_service_pb.ts'
import { CredentialService } from '../../gen/atelier/v1/credential_service_pb.ts'
import { MasterKeySource } from '../../gen/atelier/v1/master_key_pb.ts'
import { MasterKeyService } from '../../gen/atelier/v1/master_key_service_pb.ts'
import { connectWith, refusalOf } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { startCallbackReceiver } from '../support/callback-receiver.ts'
import { startFakeModeration } from '../support/fake-moderation.ts'
import { startHeldUpstream } from '../support/held-upstream.ts'
import { type LastingTraffic, startLastingTraffic } from '../support/lasting-traffic.ts'
import { runInProcess, runProgram, startProgram } from '../support/run-atelier.ts'
import { startSharedStorage } from '../support/shared-storage.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const apiKey = 'key-of-every-caller-here'
const adminKey = 'key-of-the-operator-here'
const moderationKey = 'sk-moderation-0123456789'
const ownKey = 'sk-own-0123456789abcdef'

test('rotating five times under load, sealing anew and dropping the old keys loses nothing', async () => {
  await using parts = new AsyncDisposableStack()
  const directory = parts.use(await createTemporaryDirectory())
  const { receiver, moderation, upstream } = await startOthers(parts)
  const keyFile = join(directory.path, 'data', 'master-key')
  const config = `egress: { allow: ["127.0.0.1:${receiver.port}", "127.0.0.1:${moderation.port}"] }\n`
  await writeFile(join(directory.path, 'atelier.yaml'), config)
  const environment = {
    ATELIER_LISTEN: '127.0.0.1:0',
    ATELIER_API_KEY: apiKey,
    ATELIER_ADMIN_KEY: adminKey,
    OPENAI_API_KEY: 'sk-of-the-platform',
    OPENAI_BASE_URL: upstream.url
  }
  const start = async () => {
    const run = parts.use(startProgram([], { directory: directory.path, environment }))
    return { run, url: String((await run.logged('listening')).url), apiKey, adminKey }
  }
  const first = await start()
  await setSecrets(first, moderation.url)
  const masterKeys = masterKeysOf(first)
  const traffic = startLastingTraffic(() => first, { upstream, receiver })
  const ids: string[] = []
  for (let rotation = 0; rotation < 5; rotation++) {
    await more(traffic, 12)
    ids.unshift((await masterKeys.rotateMasterKey({})).keyId)
  }
  const resealedUnderLoad = await reseal(masterKeys)
  await more(traffic, 12)
  await traffic.stop()
  expect(await traffic.problems(first)).toEqual([])
  const { stdout: secret } = await runProgram(['callback-secret'], { directory: directory.path, environment })
  expect(await traffic.callbackProblems(secret.trim())).toEqual([])

  expect(resealedUnderLoad).toMatchObject({ failed: 0n })
  expect(await reseal(masterKeys)).toMatchObject({ failed: 0n, left: 0n })
  const { status } = await masterKeys.getMasterKeyStatus({})
  expect([status?.source, status?.outdated, status?.keys.slice(0, 5).map(({ id }) => id), status?.keys.length]).toEqual([
    MasterKeySource.FILE,
    0n,
    ids,
    6
  ])
  expect(status?.keys.map(({ current, known, neededFor }) => [current, known, neededFor.length > 0])).toEqual([
    [true, true, true],
    ...Array.from({ length: 5 }, () => [false, true, false])
  ])
  first.run.process.kill('SIGKILL')
  await first.run.exit
  const lines = (await readFile(keyFile, 'utf8')).trim().split('\n')
  expect(lines.length).toBe(6)
  await writeFile(keyFile, `${lines[0]}\n`, { mode: 0o600 })
  const second = await start()
  expect(second.run.stdout).not.toContain('master keys that are not configured')
  expect(await traffic.problems(second, { keys: 'tasks alone' })).toEqual([])
  expect(await usesSecrets(second, { upstream, moderation })).toEqual({ askedBy: ownKey, moderated: true })
}, 180_000)

test('keys of the configuration are rolled over two servers one after the other, under load, and nothing is lost', async () => {
  await using parts = new AsyncDisposableStack()
  const { receiver, moderation, upstream } = await startOthers(parts)
  const { environment: shared } = parts.use(await startSharedStorage())
  const [oldKey, newKey] = [shared.ATELIER_MASTER_KEY ?? '', randomBytes(32).toString('base64')]
  const start = (current: string, previous?: string) => {
    const keys = { ATELIER_MASTER_KEY: current, ...(previous !== undefined && { ATELIER_PREVIOUS_MASTER_KEYS: previous }) }
    const others = {
      ATELIER_API_KEY: apiKey,
      ATELIER_ADMIN_KEY: adminKey,
      OPENAI_API_KEY: 'sk-of-the-platform',
      OPENAI_BASE_URL: upstream.url
    }
    const settings = { egressAllow: [`127.0.0.1:${receiver.port}`, `127.0.0.1:${moderation.port}`] }
    return startAtelier({ environment: { ...shared, ...others, ...keys }, settings })
  }
  const servers = [await start(oldKey), await start(oldKey)]
  parts.defer(async () => {
    for (const server of servers) await server[Symbol.asyncDispose]()
  })
  const reachable = (server: TestServer) => ({ url: server.url, apiKey, adminKey })
  await setSecrets(reachable(servers[0] as TestServer), moderation.url)
  let turn = 0
  const traffic = startLastingTraffic(() => reachable(servers[turn++ % servers.length] as TestServer), { upstream, receiver })
  /** As an operator does it: the server that goes gets no new requests, and finishes those that it has. */
  const roll = async (current: string, previous?: string) => {
    for (let count = 0; count < 2; count++) {
      await more(traffic, 9)
      const leaving = servers.shift() as TestServer
      await leaving.drain()
      await leaving[Symbol.asyncDispose]()
      servers.push(await start(current, previous))
    }
  }
  await roll(oldKey, newKey)
  await roll(newKey, oldKey)
  const masterKeys = masterKeysOf(reachable(servers[0] as TestServer))
  expect((await masterKeys.getMasterKeyStatus({})).status?.outdated).toBeGreaterThan(0n)
  await reseal(masterKeys)
  await more(traffic, 9)
  await traffic.stop()
  for (const server of servers) expect(await traffic.problems(reachable(server))).toEqual([])
  expect(await reseal(masterKeys)).toMatchObject({ failed: 0n, left: 0n })

  const alone = await start(newKey)
  servers.push(alone)
  expect(alone.logLines.join('')).not.toContain('master keys that are not configured')
  expect(await traffic.problems(reachable(alone), { keys: 'tasks alone' })).toEqual([])
  expect(await usesSecrets(reachable(alone), { upstream, moderation })).toEqual({ askedBy: ownKey, moderated: true })
}, 180_000)

describe('a key that comes from the configuration', () => {
  test('is not rotated here, and the refusal says how it is', async () => {
    await using atelier = await startAtelier({ environment: { ATELIER_MASTER_KEY: randomBytes(32).toString('base64') } })
    expect(await refusalOf(masterKeysOf(atelier).rotateMasterKey({}))).toEqual([
      'InvalidArgument',
      expect.stringMatching(
        /^master_key: comes from the configuration, and is changed there: first add the new key to previous_master_keys /
      )
    ])
    expect((await masterKeysOf(atelier).getMasterKeyStatus({})).status?.source).toBe(MasterKeySource.CONFIG)
  })

  test('that something stored needs and nobody has is named, and what it sealed stays as it is', async () => {
    await using shared = await startSharedStorage()
    const provider = { OPENAI_API_KEY: 'sk-never-called', OPENAI_BASE_URL: 'http://127.0.0.1:1/v1' }
    await using before = await startAtelier({ environment: { ...shared.environment, ...provider } })
    const lostId = (await masterKeysOf(before).getMasterKeyStatus({})).status?.keys[0]?.id
    await createClient(CredentialService, connectWith(before.url, before.adminKey)).setCredential({ provider: 'openai', secret: ownKey })
    const environment = { ...shared.environment, ATELIER_MASTER_KEY: randomBytes(32).toString('base64') }
    await using after = await startAtelier({ environment })
    expect(await reseal(masterKeysOf(after))).toEqual({ resealed: 0n, failed: 1n, left: 1n })
    const { status } = await masterKeysOf(after).getMasterKeyStatus({})
    expect(status?.keys.find(({ known }) => !known)).toMatchObject({
      id: lostId,
      current: false,
      neededFor: [{ kind: 'the credentials for providers', count: 1n }]
    })
    expect(after.logLines.join('')).toContain('some of what is stored was sealed with master keys that are not configured')
  })
})

test('a made-up token is refused', async () => {
  await using atelier = await startAtelier()
  const tokens = [
    'x',
    Buffer.from('["tasks","prompt",""]').toString('base64url'),
    Buffer.from('["api_keys","hash",""]').toString('base64url')
  ]
  for (const continueToken of tokens) {
    expect(await refusalOf(masterKeysOf(atelier).reseal({ continueToken }))).toEqual([
      'InvalidArgument',
      'continue_token: must be the continue_token of the answer before'
    ])
  }
})

test('on the command line a key is rotated, its state is shown, and what is stored is sealed anew', async () => {
  await using atelier = await startAtelier()
  const run = (...args: string[]) =>
    runInProcess(['master-key', ...args], { environment: { ATELIER_URL: atelier.url, ATELIER_ADMIN_KEY: atelier.adminKey } })
  const generated = await atelier.post('/v1/images/generations', { model: 'sketch', prompt: 'a cat', size: '64x64' })
  expect(generated.status).toBe(200)
  const before = await run('status')
  const [, oldId = ''] = /\n([0-9a-f]{8}) {2}current/.exec(before.stdout) ?? []
  const rotated = await run('rotate')
  const [, newId = ''] = /new master key ([0-9a-f]{8})/.exec(rotated.stdout) ?? []
  expect([rotated.code, rotated.stderr, newId === oldId, newId.length]).toEqual([0, '', false, 8])
  expect((await run('status')).stdout).toBe(
    'The current master key comes from the file master-key in the data directory.\n\n' +
      'KEY       STATE    VALUES  NEEDED FOR\n' +
      `${newId}  current          nothing that is stored\n` +
      `${oldId}  earlier  2       the requests and results of its tasks\n`
  )
  expect(await run('reseal')).toEqual({
    code: 0,
    stdout: '2 values are sealed with the current master key; nothing needs an earlier one.\n',
    stderr: ''
  })
  expect(JSON.parse((await run('status', '--json')).stdout)).toMatchObject({
    source: 'file',
    keys: [{ id: newId, current: true }, { id: oldId }]
  })
  expect(JSON.parse((await run('reseal', '--json')).stdout)).toEqual({ resealed: 0, failed: 0, left: 0 })
  const audited = atelier.logLines.find((line) => line.includes('"action":"RotateMasterKey"'))
  expect(JSON.parse(audited ?? '{}')).toMatchObject({ masterKey: newId, outcome: 'ok' })
  const keys = (await readFile(join(atelier.dataDir, 'master-key'), 'utf8')).trim().split('\n')
  expect(keys.filter((key) => atelier.logLines.join('').includes(key))).toEqual([])
})

async function startOthers(parts: AsyncDisposableStack) {
  return {
    upstream: parts.use(await startHeldUpstream({ delayMs: 50 })),
    receiver: parts.use(await startCallbackReceiver()),
    moderation: parts.use(await startFakeModeration({ apiKey: moderationKey }))
  }
}

/** Stores a secret of each kind that is used towards others. */
async function setSecrets(server: { url: string; adminKey: string }, moderationUrl: string): Promise<void> {
  const transport = connectWith(server.url, server.adminKey)
  await createClient(CredentialService, transport).setCredential({ provider: 'openai', secret: ownKey })
  await createClient(ContentPolicyService, transport).setContentPolicy({
    organizationId: 'default',
    moderation: { url: moderationUrl, key: moderationKey }
  })
}

/** With whose key the provider is called, and whether the moderation endpoint takes the key that it gets. */
async function usesSecrets(
  server: { url: string },
  { upstream, moderation }: Pick<Awaited<ReturnType<typeof startOthers>>, 'upstream' | 'moderation'>
) {
  const before = moderation.asked.length
  const response = await fetch(`${server.url}/v1/images/generations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-image-1', prompt: 'with the secrets', size: '1024x1024', quality: 'low' })
  })
  if (response.status !== 200) throw new Error(await response.text())
  return { askedBy: upstream.askedBy.get('with the secrets'), moderated: moderation.asked.length === before + 1 }
}

async function more(traffic: LastingTraffic, requests: number): Promise<void> {
  const goal = traffic.count() + requests
  for (const endMs = Date.now() + 30_000; traffic.count() < goal; await sleep(10)) {
    if (Date.now() > endMs) throw new Error('the traffic has come to a halt')
  }
}

async function reseal(masterKeys: Client<typeof MasterKeyService>) {
  const sum = { resealed: 0n, failed: 0n, left: 0n }
  let continueToken = ''
  do {
    const step = await masterKeys.reseal({ continueToken })
    sum.resealed += step.resealed
    sum.failed += step.failed
    sum.left = step.left ?? 0n
    continueToken = step.continueToken
  } while (continueToken !== '')
  return sum
}

function masterKeysOf(server: { url: string; adminKey: string }): Client<typeof MasterKeyService> {
  return createClient(MasterKeyService, connectWith(server.url, server.adminKey))
}
