import { setTimeout as sleep } from 'node:timers/promises'
import type { DescService } from '@bufbuild/protobuf'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApiKeyScopeSchema } from '../../gen/atelier/v1/api_key_pb.ts'
import { enumValue, wireNames } from '../../src/contract/wire-names.ts'
import { createRestRoutes, type RestDeps } from '../../src/wire/rest.ts'
import { guardedServices } from '../../src/wire/rpc-access.ts'
import { adminOf, connectWith, createKey } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'

/** What a key must be allowed to do, one of several where they are many, for each RPC and each route. What is in no line of these tables fails. */
const scopeOfRpc: Record<string, string | readonly string[]> = {
  'atelier.v1.ImageService.GenerateImages': 'generate',
  'atelier.v1.ImageService.StreamGenerateImages': 'generate',
  'atelier.v1.ImageService.EstimateCost': 'generate',
  'atelier.v1.ImageService.EditImages': 'edit',
  'atelier.v1.ImageService.StreamEditImages': 'edit',
  'atelier.v1.ImageService.CreateVariations': 'edit',
  'atelier.v1.ImageService.UploadImage': 'edit',
  'atelier.v1.ImageService.DeleteImage': ['generate', 'edit'],
  'atelier.v1.TaskService.CreateTask': ['generate', 'edit'],
  'atelier.v1.TaskService.GetTask': 'read_tasks',
  'atelier.v1.TaskService.ListTasks': 'read_tasks',
  'atelier.v1.TaskService.WatchTask': 'read_tasks',
  'atelier.v1.TaskService.CancelTask': ['generate', 'edit'],
  'atelier.v1.TaskService.RedeliverCallback': ['generate', 'edit'],
  'atelier.v1.ModelService.ListModels': 'generate',
  'atelier.v1.ModelService.GetModel': 'generate',
  'atelier.v1.AdminService.CreateOrganization': 'admin',
  'atelier.v1.AdminService.GetOrganization': 'admin',
  'atelier.v1.AdminService.ListOrganizations': 'admin',
  'atelier.v1.AdminService.UpdateOrganization': 'admin',
  'atelier.v1.AdminService.CreateApiKey': 'admin',
  'atelier.v1.AdminService.GetApiKey': 'admin',
  'atelier.v1.AdminService.ListApiKeys': 'admin',
  'atelier.v1.AdminService.UpdateApiKey': 'admin',
  'atelier.v1.CredentialService.SetCredential': 'admin',
  'atelier.v1.CredentialService.GetCredential': 'admin',
  'atelier.v1.CredentialService.ListCredentials': 'admin',
  'atelier.v1.CredentialService.DeleteCredential': 'admin',
  'atelier.v1.BudgetService.SetBudget': 'admin',
  'atelier.v1.BudgetService.GetBudget': 'admin',
  'atelier.v1.BudgetService.ListBudgets': 'admin',
  'atelier.v1.BudgetService.DeleteBudget': 'admin',
  'atelier.v1.AdminService.RevokeApiKey': 'admin',
  'atelier.v1.RateLimitService.SetRateLimit': 'admin',
  'atelier.v1.RateLimitService.ListRateLimits': 'admin',
  'atelier.v1.RateLimitService.DeleteRateLimit': 'admin',
  'atelier.v1.ContentPolicyService.SetContentPolicy': 'admin',
  'atelier.v1.ContentPolicyService.GetContentPolicy': 'admin',
  'atelier.v1.ContentPolicyService.ListContentPolicies': 'admin',
  'atelier.v1.ContentPolicyService.DeleteContentPolicy': 'admin',
  'atelier.v1.MasterKeyService.GetMasterKeyStatus': 'admin',
  'atelier.v1.MasterKeyService.RotateMasterKey': 'admin',
  'atelier.v1.MasterKeyService.Reseal': 'admin',
  'atelier.v1.UsageService.QueryUsage': 'admin',
  'atelier.v1.UsageService.ListLedgerEntries': 'admin'
}
const scopeOfRoute: Record<string, string | readonly string[]> = {
  'POST /v1/images/generations': 'generate',
  'POST /v1/openai/images/generations': 'generate',
  'POST /openai/images/generations': 'generate',
  'POST /v1/images/estimate': 'generate',
  'POST /v1/images/edits': 'edit',
  'POST /v1/openai/images/edits': 'edit',
  'POST /openai/images/edits': 'edit',
  'POST /v1/images/variations': 'edit',
  'DELETE /v1/images/{id}': ['generate', 'edit'],
  'GET /v1/tasks': 'read_tasks',
  'HEAD /v1/tasks': 'read_tasks',
  'GET /v1/tasks/{id}': 'read_tasks',
  'HEAD /v1/tasks/{id}': 'read_tasks',
  'DELETE /v1/tasks/{id}': ['generate', 'edit'],
  'POST /v1/tasks/{id}/callback': ['generate', 'edit'],
  'POST /v1/openai/tasks': 'read_tasks',
  'POST /openai/tasks': 'read_tasks',
  'GET /v1/models': 'generate',
  'HEAD /v1/models': 'generate',
  'GET /v1/models/': 'generate',
  'HEAD /v1/models/': 'generate',
  'GET /metrics': 'admin',
  'HEAD /metrics': 'admin',
  'GET /healthz': 'public',
  'HEAD /healthz': 'public',
  'GET /readyz': 'public',
  'HEAD /readyz': 'public',
  'GET /images/': 'public',
  'HEAD /images/': 'public'
}

const rpcs = guardedServices.flatMap((service) =>
  service.methods.map((method) => ({ service, method, name: `${service.typeName}.${method.name}` }))
)
const routes = createRestRoutes({ maxBodyBytes: 1 }, {} as RestDeps).flatMap(({ path, methods }) =>
  methods.map((method) => ({ path, method, name: `${method} ${path}` }))
)
const scopes = wireNames(ApiKeyScopeSchema)

test('every RPC and every route has a line in the tables, and every line is of one', () => {
  expect(Object.keys(scopeOfRpc).sort()).toEqual(rpcs.map(({ name }) => name).sort())
  expect(Object.keys(scopeOfRoute).sort()).toEqual(routes.map(({ name }) => name).sort())
})

describe('a key', () => {
  let atelier: TestServer
  const keyOf = new Map<string, string>()
  const useless = new Map<string, string | undefined>()

  beforeAll(async () => {
    atelier = await startAtelier()
    const admin = adminOf(atelier)
    for (const scope of scopes) keyOf.set(scope, (await createKey(atelier, { scopes: [enumValue(ApiKeyScopeSchema, scope) ?? 0] })).key)
    const all = { scopes: scopes.map((scope) => enumValue(ApiKeyScopeSchema, scope) ?? 0) }
    useless.set('no key', undefined)
    useless.set('an unknown key', `sk-atelier-${'x'.repeat(42)}`)
    const revoked = await createKey(atelier, all)
    await admin.revokeApiKey({ id: revoked.id })
    useless.set('a revoked key', revoked.key)
    const expired = await createKey(atelier, { ...all, expiresAt: BigInt(Math.floor(Date.now() / 1000) + 1) })
    useless.set('an expired key', expired.key)
    await admin.createOrganization({ id: 'disabled' })
    const { key } = await createKey(atelier, { organizationId: 'disabled' })
    await admin.updateOrganization({ id: 'disabled', disabled: true })
    useless.set('a key of a disabled organization', key)
    const isExpired = async () => (await restRefusal(atelier, { method: 'GET', path: '/v1/models' }, expired.key)) === 'unknown key'
    while (!(await isExpired())) await sleep(50)
  })
  afterAll(() => atelier[Symbol.asyncDispose]())

  test.each(rpcs)('may call $name exactly if it has its scope', async ({ service, method, name }) => {
    for (const scope of scopes) {
      const code = await rpcCode(atelier, service, method.localName, keyOf.get(scope))
      expect([scope, code === Code.PermissionDenied]).toEqual([scope, !allows(scope, scopeOfRpc[name])])
      expect([scope, code === Code.Unauthenticated]).toEqual([scope, false])
    }
    for (const [kind, key] of useless) {
      expect([kind, await rpcCode(atelier, service, method.localName, key)]).toEqual([kind, Code.Unauthenticated])
    }
  })

  test.each(routes)('may ask for $name exactly if it has its scope', async ({ path, method, name }) => {
    const needed = scopeOfRoute[name]
    for (const scope of scopes) {
      const refusal = await restRefusal(atelier, { method, path }, keyOf.get(scope))
      expect([scope, refusal]).toEqual([scope, needed === 'public' || allows(scope, needed) ? undefined : 'not allowed'])
    }
    for (const [kind, key] of useless) {
      expect([kind, await restRefusal(atelier, { method, path }, key)]).toEqual([kind, needed === 'public' ? undefined : 'unknown key'])
    }
  })
})

function allows(scope: string, needed: string | readonly string[] = []): boolean {
  return [needed].flat().includes(scope)
}

/** The code with which an empty request fails; undefined where it succeeds. */
async function rpcCode({ url }: TestServer, service: DescService, localName: string, key: string | undefined): Promise<Code | undefined> {
  const client = createClient(service, connectWith(url, key)) as Record<string, (request: unknown) => unknown>
  const { methodKind } = service.method[localName] ?? {}
  try {
    const answer = client[localName]?.(methodKind === 'client_streaming' ? oneMessage() : {})
    if (methodKind === 'server_streaming') for await (const _ of answer as AsyncIterable<unknown>) break
    else await answer
    return undefined
  } catch (error) {
    if (error instanceof ConnectError) return error.code
    throw error
  }
}

async function* oneMessage() {
  yield {}
}

/** Whether the key is refused; undefined where the request fails for another reason, or succeeds. */
async function restRefusal(
  { url }: TestServer,
  { method, path }: { method: string; path: string },
  key: string | undefined
): Promise<'unknown key' | 'not allowed' | undefined> {
  const headers = { 'content-type': 'application/json', ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) }
  const target = `${url}${path}${path.endsWith('/') ? 'something' : ''}`
  const response = await fetch(target, { method, headers, ...(method === 'POST' && { body: '{}' }) })
  const body = await response.text()
  if (response.status === 403) return 'not allowed'
  if (response.status !== 401) return undefined
  // The enveloped dialect has one status for both.
  return path.includes('/openai/') && body.includes('may not') ? 'not allowed' : 'unknown key'
}
