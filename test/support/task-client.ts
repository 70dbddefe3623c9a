import { createApiKeyStore } from '../../src/admission/api-key-store.ts'
import { callerScopes } from '../../src/admission/operator-keys.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { createLiveCopies } from '../../src/storage/live-copies.ts'
import type { TestServer } from './atelier.ts'

/** A task as REST shows it. */
export interface RestTask {
  id: string
  status: string
  operation: string
  created_at: number
  finished_at: number | null
  expires_at: number | null
  trace_id: string | null
  progress: number
  error: { message: string; type: string; param: string | null; code: string | null } | null
  retryable: boolean | null
  may_be_billed: boolean | null
  attempts: { part: number; ordinal: number; provider: string; status: string; cost_micros: number | null }[]
  callback: { status: string; webhook_id: string; deliveries: { status: number | null; problem: string | null }[] } | null
  result: {
    created: number
    data: { url: string; revised_prompt?: string }[]
    missing?: { index: number; outcome: string; message: string }[]
    atelier: { warnings: { param: string }[] }
  } | null
  parameters: Record<string, unknown>
}

type Server = Pick<TestServer, 'post' | 'get'>

export const generations = '/v1/images/generations'

/** Asks for images in the background; throws where that is refused. */
export async function submit(server: Server, body: Record<string, unknown>, headers: Record<string, string> = {}): Promise<RestTask> {
  const response = await server.post(generations, body, { prefer: 'respond-async', ...headers })
  const text = await response.text()
  if (response.status !== 202) throw new Error(`refused with ${response.status}: ${text}`)
  return JSON.parse(text)
}

/** The task as it is now, or as soon as it is final. */
export async function readTask(server: Server, id: string | null, { wait = 15 } = {}): Promise<RestTask> {
  const response = await server.get(`/v1/tasks/${id}?wait=${wait}`)
  const text = await response.text()
  if (response.status !== 200) throw new Error(`refused with ${response.status}: ${text}`)
  return JSON.parse(text)
}

/** The newest tasks, newest first. */
export async function listTasks(server: Server, query = ''): Promise<{ data: RestTask[]; has_more: boolean; next: string | null }> {
  return (await server.get(`/v1/tasks${query}`)).json()
}

/** Sends a request without a body. */
export function send(server: Pick<TestServer, 'url' | 'apiKey'>, method: string, path: string, key = server.apiKey): Promise<Response> {
  return fetch(server.url + path, { method, headers: { authorization: `Bearer ${key}` } })
}

/** Makes another organization with a key of its own, which the server knows when this resolves. */
export async function createOrganization({ dataDir, url }: Pick<TestServer, 'dataDir' | 'url'>, id: string): Promise<string> {
  await using database = await openDatabase({ dataDir })
  await using copies = await createLiveCopies({ database })
  await using keys = await createApiKeyStore({ database, copies })
  await database.commit([{ query: database.query.insertInto('organizations').values({ id, name: id, created_at_ms: Date.now() }) }])
  const { key } = await keys.create({ name: 'test', scopes: callerScopes, organizationId: id })
  while ((await send({ url, apiKey: key }, 'GET', '/v1/models')).status !== 200) await new Promise((resolve) => setTimeout(resolve, 50))
  return key
}
