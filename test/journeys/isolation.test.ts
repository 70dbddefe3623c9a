import { setTimeout as sleep } from 'node:timers/promises'
import { type DescMethod, toJsonString } from '@bufbuild/protobuf'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ApiKeyScope } from '../../gen/atelier/v1/api_key_pb.ts'
import type { NeededScope, Scope } from '../../src/call.ts'
import { createRestRoutes, type RestDeps } from '../../src/wire/rest.ts'
import { guardedServices, scopeOfRpc } from '../../src/wire/rpc-access.ts'
import { adminOf, connectWith, createKey } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { type CallbackReceiver, startCallbackReceiver } from '../support/callback-receiver.ts'
import { type HeldUpstream, startHeldUpstream } from '../support/held-upstream.ts'
import { createTenant, nobody, type Tenant, uploadImage } from '../support/tenant.ts'

/**
 * What an RPC or a route names that can belong to somebody. `object`: to anybody else it is as if it were not there. `list`: it shows what is
 * one's own. `repetition`: under a request id that somebody else used it is a request of its own. `operator`: for no key of any tenant.
 * `nothing`: it names nothing that belongs to anybody.
 */
type Entry<Request> = 'nothing' | Named<Request>

interface Named<Request> {
  kind: 'object' | 'list' | 'repetition' | 'operator'
  request: (of: Tenant) => Request
  /** Whether it is tried on a task that runs, which must go on. */
  stops?: boolean
}

const object = <Request>(request: (of: Tenant) => Request) => ({ kind: 'object', request }) as const
const stop = <Request>(request: (of: Tenant) => Request) => ({ kind: 'object', request, stops: true }) as const
const list = <Request>(request: (of: Tenant) => Request) => ({ kind: 'list', request }) as const
const repetition = <Request>(request: (of: Tenant) => Request) => ({ kind: 'repetition', request }) as const
const operator = <Request>(request: (of: Tenant) => Request) => ({ kind: 'operator', request }) as const

const sketch = { prompt: 'a lighthouse', modelSelector: { case: 'modelName', value: 'sketch' } } as const
const imageOf = (of: Tenant) => ({ source: { case: 'imageId', value: of.imageId } }) as const
const editOf = (of: Tenant) => ({ parameters: sketch, images: [{ source: { case: 'imageId', value: of.uploadId } }, imageOf(of)] })
const ownedBy = ({ organizationId }: Tenant) => ({ organizationId })
const subjectOf = ({ organizationId }: Tenant) => ({ case: 'organizationId', value: organizationId }) as const

const rpcTable: Record<string, Entry<object>> = {
  'atelier.v1.ImageService.GenerateImages': repetition(({ requestId }) => ({ ...sketch, requestId })),
  'atelier.v1.ImageService.StreamGenerateImages': repetition(({ requestId }) => ({
    request: { ...sketch, requestId: `${requestId}, streamed` }
  })),
  'atelier.v1.ImageService.EstimateCost': 'nothing',
  'atelier.v1.ImageService.EditImages': object(editOf),
  'atelier.v1.ImageService.StreamEditImages': object((of) => ({ request: editOf(of) })),
  'atelier.v1.ImageService.CreateVariations': object((of) => ({ image: imageOf(of), parameters: { modelSelector: sketch.modelSelector } })),
  'atelier.v1.ImageService.UploadImage': 'nothing',
  'atelier.v1.ImageService.DeleteImage': object(({ uploadId }) => ({ imageId: uploadId })),
  'atelier.v1.TaskService.CreateTask': object((of) => ({ operation: { case: 'edit', value: editOf(of) } })),
  'atelier.v1.TaskService.GetTask': object(({ taskId }) => ({ id: taskId })),
  'atelier.v1.TaskService.ListTasks': list(({ traceId }) => ({ traceId })),
  'atelier.v1.TaskService.WatchTask': object(({ taskId }) => ({ id: taskId })),
  'atelier.v1.TaskService.CancelTask': stop(({ runningTaskId }) => ({ id: runningTaskId })),
  'atelier.v1.TaskService.RedeliverCallback': object(({ taskId }) => ({ id: taskId })),
  'atelier.v1.ModelService.ListModels': 'nothing',
  'atelier.v1.ModelService.GetModel': 'nothing',
  'atelier.v1.AdminService.CreateOrganization': operator(({ organizationId }) => ({ id: `${organizationId}-2` })),
  'atelier.v1.AdminService.GetOrganization': operator(({ organizationId }) => ({ id: organizationId })),
  'atelier.v1.AdminService.ListOrganizations': operator(() => ({})),
  'atelier.v1.AdminService.UpdateOrganization': operator(({ organizationId }) => ({ id: organizationId, disabled: true })),
  'atelier.v1.AdminService.CreateApiKey': operator(({ organizationId }) => ({ organizationId, name: 'stolen' })),
  'atelier.v1.AdminService.GetApiKey': operator(({ keyId }) => ({ id: keyId })),
  'atelier.v1.AdminService.ListApiKeys': operator(ownedBy),
  'atelier.v1.AdminService.UpdateApiKey': operator(({ keyId }) => ({ id: keyId, name: 'stolen' })),
  'atelier.v1.AdminService.RevokeApiKey': operator(({ keyId }) => ({ id: keyId })),
  'atelier.v1.CredentialService.SetCredential': operator(({ organizationId }) => ({
    organizationId,
    provider: 'openai',
    secret: 'sk-stolen-012345'
  })),
  'atelier.v1.CredentialService.GetCredential': operator(({ credentialId }) => ({ id: credentialId })),
  'atelier.v1.CredentialService.ListCredentials': operator(ownedBy),
  'atelier.v1.CredentialService.DeleteCredential': operator(({ credentialId }) => ({ id: credentialId })),
  'atelier.v1.BudgetService.SetBudget': operator((of) => ({ subject: { subject: subjectOf(of) }, period: 2, limitMicros: 1n })),
  'atelier.v1.BudgetService.GetBudget': operator(({ budgetId }) => ({ id: budgetId })),
  'atelier.v1.BudgetService.ListBudgets': operator(ownedBy),
  'atelier.v1.BudgetService.DeleteBudget': operator(({ budgetId }) => ({ id: budgetId })),
  'atelier.v1.UsageService.QueryUsage': operator((of) => ({ filter: ownedBy(of) })),
  'atelier.v1.UsageService.ListLedgerEntries': operator((of) => ({ filter: ownedBy(of) })),
  'atelier.v1.RateLimitService.SetRateLimit': operator((of) => ({ subject: subjectOf(of), metric: 1, amount: 1n, windowSeconds: 60n })),
  'atelier.v1.RateLimitService.ListRateLimits': operator(ownedBy),
  'atelier.v1.RateLimitService.DeleteRateLimit': operator(({ rateLimitId }) => ({ id: rateLimitId })),
  'atelier.v1.ContentPolicyService.SetContentPolicy': operator(ownedBy),
  'atelier.v1.ContentPolicyService.GetContentPolicy': operator(ownedBy),
  'atelier.v1.ContentPolicyService.ListContentPolicies': operator(() => ({})),
  'atelier.v1.ContentPolicyService.DeleteContentPolicy': operator(ownedBy),
  'atelier.v1.MasterKeyService.GetMasterKeyStatus': operator(() => ({})),
  'atelier.v1.MasterKeyService.RotateMasterKey': operator(() => ({})),
  'atelier.v1.MasterKeyService.Reseal': operator(() => ({}))
}

interface RestRequest {
  path?: string
  body?: object
  headers?: Record<string, string>
}

const json = { model: 'sketch', prompt: 'a lighthouse', size: '64x64' }
const generation = (name: string) =>
  repetition(({ requestId }: Tenant) => ({ body: json, headers: { 'idempotency-key': `${requestId}, ${name}` } }))
const edit = object((of: Tenant) => ({ body: { ...json, images: [{ file_id: of.imageId }] } }))
const task = object(({ taskId }: Tenant) => ({ path: `/v1/tasks/${taskId}` }))
const tasks = list(({ traceId }: Tenant) => ({ path: `/v1/tasks?trace_id=${encodeURIComponent(traceId)}` }))

const routeTable: Record<string, Entry<RestRequest>> = {
  'POST /v1/images/generations': generation('by REST'),
  'POST /v1/openai/images/generations': generation('in an envelope'),
  'POST /openai/images/generations': generation('in an envelope too'),
  'POST /v1/images/estimate': 'nothing',
  'POST /v1/images/edits': edit,
  'POST /v1/openai/images/edits': edit,
  'POST /openai/images/edits': edit,
  // A form has no way to name an image that is kept here.
  'POST /v1/images/variations': 'nothing',
  'DELETE /v1/images/{id}': object(({ uploadId }) => ({ path: `/v1/images/${uploadId}` })),
  'GET /v1/tasks': tasks,
  // Its answer shows nothing.
  'HEAD /v1/tasks': 'nothing',
  'GET /v1/tasks/{id}': task,
  'HEAD /v1/tasks/{id}': task,
  'DELETE /v1/tasks/{id}': stop(({ runningTaskId }) => ({ path: `/v1/tasks/${runningTaskId}` })),
  'POST /v1/tasks/{id}/callback': object(({ taskId }) => ({ path: `/v1/tasks/${taskId}/callback` })),
  'POST /v1/openai/tasks': object(({ taskId }) => ({ body: { action: 'retrieve', id: taskId } })),
  'POST /openai/tasks': list(({ taskId, traceId }) => ({ body: { action: 'retrieve_batch', ids: [taskId], trace_ids: [traceId] } })),
  'GET /v1/models': 'nothing',
  'HEAD /v1/models': 'nothing',
  'GET /v1/models/': 'nothing',
  'HEAD /v1/models/': 'nothing',
  'GET /metrics': operator(() => ({})),
  'HEAD /metrics': operator(() => ({})),
  'GET /healthz': 'nothing',
  'HEAD /healthz': 'nothing',
  'GET /readyz': 'nothing',
  'HEAD /readyz': 'nothing',
  // A link is what allows to read an image: see below.
  'GET /images/': 'nothing',
  'HEAD /images/': 'nothing'
}

const rpcs = guardedServices.flatMap((service) => service.methods.map((method) => ({ method, name: `${service.typeName}.${method.name}` })))
const routes = createRestRoutes({ maxBodyBytes: 1 }, {} as RestDeps).flatMap(({ path, methods, access }) =>
  methods.map((method) => ({ path, method, access, name: `${method} ${path}` }))
)

test('every RPC and every route has an entry, and every entry is of one', () => {
  expect(Object.keys(rpcTable).sort()).toEqual(rpcs.map(({ name }) => name).sort())
  expect(Object.keys(routeTable).sort()).toEqual(routes.map(({ name }) => name).sort())
})

/** What came of a request, in words that are the same for RPC and REST. */
interface Answer {
  came: 'served' | 'not allowed' | 'unknown key' | 'refused'
  /** The whole of it, with ids of requests left out. */
  text: string
  /** Whether it told of an earlier request with the same id. */
  isReplay: boolean
}

type Ask = (key: string | undefined, of: Tenant) => Promise<Answer>

describe('what belongs to an organization', () => {
  let receiver: CallbackReceiver
  let upstream: HeldUpstream
  let atelier: TestServer
  let acme: Tenant
  let other: Tenant
  let runningTasks = 0
  const keyOfRole = new Map<Scope, string>()
  /** Keys that are valid and belong to others. */
  const strangers = new Map<string, string>()
  const useless = new Map<string, string | undefined>([
    ['no key', undefined],
    ['an unknown key', `sk-atelier-${'x'.repeat(42)}`]
  ])

  beforeAll(async () => {
    receiver = await startCallbackReceiver()
    upstream = await startHeldUpstream()
    const environment = { OPENAI_API_KEY: 'sk-of-the-platform', OPENAI_BASE_URL: upstream.url }
    atelier = await startAtelier({ environment, settings: { egressAllow: [`127.0.0.1:${receiver.port}`] } })
    acme = await createTenant(atelier, 'acme', `${receiver.origin}/acme`)
    other = await createTenant(atelier, 'other', `${receiver.origin}/other`)
    strangers.set('a key of another organization', other.key)
    strangers.set('a caller of the operator’s organization', atelier.apiKey)
    const { GENERATE, EDIT, READ_TASKS } = ApiKeyScope
    const ofAcme = { organizationId: 'acme', scopes: [GENERATE, EDIT, READ_TASKS] }
    for (const [scope, value] of [
      ['generate', GENERATE],
      ['edit', EDIT],
      ['read_tasks', READ_TASKS]
    ] as const) {
      keyOfRole.set(scope, (await createKey(atelier, { ...ofAcme, scopes: [value] })).key)
    }
    keyOfRole.set('admin', atelier.adminKey)
    const admin = adminOf(atelier)
    const revoked = await createKey(atelier, ofAcme)
    await admin.revokeApiKey({ id: revoked.id })
    useless.set('a revoked key of the organization', revoked.key)
    const disabled = await createTenant(atelier, 'disabled', `${receiver.origin}/disabled`)
    await admin.updateOrganization({ id: 'disabled', disabled: true })
    useless.set('a key of a disabled organization', disabled.key)
    const expired = await createKey(atelier, { ...ofAcme, expiresAt: BigInt(Math.floor(Date.now() / 1000) + 1) })
    useless.set('an expired key of the organization', expired.key)
    while ((await atelier.get('/v1/models', { authorization: `Bearer ${expired.key}` })).status !== 401) await sleep(50)
  })
  // Some requests delete it.
  beforeEach(async () => {
    acme = { ...acme, uploadId: await uploadImage(atelier, acme.key) }
  })
  afterAll(async () => {
    await atelier[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
    await receiver[Symbol.asyncDispose]()
  })

  test.each(rpcs)('is nobody else’s by $name', async ({ method, name }) => {
    await check(rpcTable[name], scopeOfRpc(method), (request) => (key, of) => askRpc(atelier, method, key, request(of)))
  })

  test.each(routes)('is nobody else’s by $name', async ({ method, path, access, name }) => {
    const needed = access === 'public' ? undefined : access
    await check(routeTable[name], needed, (request) => (key, of) => askRest(atelier, method, key, { path, ...request(of) }))
  })

  test('is read by its own link alone', async () => {
    const [own, foreign] = [new URL(acme.imageLink), new URL(other.imageLink)]
    const statusOf = async (url: URL) => (await fetch(url)).status
    expect([await statusOf(own), await statusOf(foreign)]).toEqual([200, 200])
    const mixed = new URL(acme.imageLink.replace(acme.imageId, other.imageId))
    expect(await statusOf(mixed)).toBe(404)
  })

  test('is no credential for anybody else', async () => {
    const ask = async (key: string, { credentialName }: Tenant) => {
      const request = {
        headers: { 'x-portkey-virtual-key': credentialName },
        body: { ...json, model: 'gpt-image-1', size: '1024x1024', quality: 'low' }
      }
      const { text } = await askRest(atelier, 'POST', key, { path: '/v1/images/generations', ...request })
      return text.replaceAll(credentialName, 'the name')
    }
    for (const [stranger, key] of strangers) expect([stranger, await ask(key, acme)]).toEqual([stranger, await ask(key, nobody)])
    expect([(await ask(acme.key, acme)).slice(0, 3), (await ask(acme.key, nobody)).slice(0, 3)]).toEqual(['200', '404'])
    expect([upstream.calls.get(json.prompt), upstream.askedBy.get(json.prompt)]).toEqual([1, 'sk-of-acme-0123456789'])
  })

  async function check<Request>(
    entry: Entry<Request> | undefined,
    needed: NeededScope | undefined,
    askWith: (request: (of: Tenant) => Request) => Ask
  ): Promise<void> {
    if (entry === undefined) throw new Error('there is no entry')
    if (entry === 'nothing') return
    if (entry.stops) acme = { ...acme, runningTaskId: await startTask() }
    const ask = askWith(entry.request)
    for (const [kind, key] of useless) expect([kind, (await ask(key, acme)).came]).toEqual([kind, 'unknown key'])
    for (const [role, key] of keyOfRole) {
      if (![needed].flat().includes(role)) expect([role, (await ask(key, acme)).came]).toEqual([role, 'not allowed'])
    }
    await checkStrangers(entry, ask)
  }

  /** Begins a task that runs until it is stopped. */
  async function startTask(): Promise<string> {
    runningTasks += 1
    const prompt = `held ${runningTasks}`
    const body = { ...json, model: 'gpt-image-1', size: '1024x1024', quality: 'low', prompt }
    const answer = await atelier.post('/v1/images/generations', body, { authorization: `Bearer ${acme.key}`, prefer: 'respond-async' })
    await upstream.arrived(prompt)
    return ((await answer.json()) as { id: string }).id
  }

  async function checkStrangers({ kind, stops }: Named<unknown>, ask: Ask): Promise<void> {
    if (kind === 'operator') {
      for (const key of [acme.key, ...strangers.values()]) expect((await ask(key, acme)).came).toBe('not allowed')
      return
    }
    if (kind === 'repetition') expect((await ask(acme.key, acme)).came).toBe('served')
    for (const [stranger, key] of strangers) {
      const answer = await ask(key, acme)
      if (kind === 'repetition') {
        expect([stranger, answer.came, answer.isReplay]).toEqual([stranger, 'served', false])
        continue
      }
      expect([stranger, answer.text]).toEqual([stranger, (await ask(key, nobody)).text])
    }
    if (stops) {
      const { text } = await askRest(atelier, 'GET', acme.key, { path: `/v1/tasks/${acme.runningTaskId}` })
      expect(text).toContain('"status":"running"')
    }
    const own = await ask(acme.key, acme)
    expect(own.came).toBe('served')
    if (kind === 'repetition') expect(own.isReplay).toBe(true)
    else expect(own.text).not.toBe((await ask(acme.key, nobody)).text)
  }
})

async function askRpc({ url }: TestServer, method: DescMethod, key: string | undefined, request: object): Promise<Answer> {
  const client = createClient(method.parent, connectWith(url, key)) as Record<string, (request: object, options: object) => unknown>
  let isReplay = false
  const onHeader = (headers: Headers) => {
    isReplay = headers.has('x-atelier-replayed')
  }
  try {
    const answer = client[method.localName]?.(request, { onHeader })
    const messages =
      method.methodKind === 'server_streaming' ? await Array.fromAsync(answer as AsyncIterable<never>) : [(await answer) as never]
    return { came: 'served', text: messages.map((message) => toJsonString(method.output, message)).join('\n'), isReplay }
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error
    const came = error.code === Code.PermissionDenied ? 'not allowed' : error.code === Code.Unauthenticated ? 'unknown key' : 'refused'
    return { came, text: withoutIds(`${Code[error.code]} ${error.rawMessage}`), isReplay }
  }
}

async function askRest(
  { url }: TestServer,
  method: string,
  key: string | undefined,
  { path = '', body = {}, headers = {} }: RestRequest
): Promise<Answer> {
  const all = { 'content-type': 'application/json', ...headers, ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) }
  const response = await fetch(url + path, { method, headers: all, ...(method === 'POST' && { body: JSON.stringify(body) }) })
  const text = await response.text()
  const { status } = response
  // The enveloped dialect has one status for both.
  const isForbidden = status === 403 || (status === 401 && text.includes('may not'))
  const came = status < 300 ? 'served' : isForbidden ? 'not allowed' : status === 401 ? 'unknown key' : 'refused'
  return { came, text: withoutIds(`${status} ${text}`), isReplay: response.headers.has('x-atelier-replayed') }
}

/** What differs between any two requests, and what they named. */
function withoutIds(text: string): string {
  return text.replace(/"trace_id":"[^"]*"/g, '"trace_id"').replace(/req_\w+/g, 'req')
}
