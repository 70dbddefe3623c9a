import type { MessageInitShape } from '@bufbuild/protobuf'
import { type Client, createClient } from '@connectrpc/connect'
import { CredentialService, type SetCredentialRequestSchema } from '../../gen/atelier/v1/credential_service_pb.ts'
import type { PlatformCredentials } from '../../gen/atelier/v1/organization_pb.ts'
import { adminOf, connectWith, createKey } from './admin.ts'
import type { FakeOpenAIOptions } from './fake-openai.ts'
import { type Gateway, type GatewayOptions, startGateway } from './gateway.ts'

/** The platform's key for the provider. */
export const platformKey = 'sk-provider-0123456789abcdef'
export const acmeKey = 'sk-acme-own-0123456789abcdef'
export const otherKey = 'sk-acme-two-0123456789abcdef'
export const picture = { model: 'gpt-image-1', prompt: 'a cat', size: '1024x1024', quality: 'low' }

type Refusals = Readonly<Record<string, { status: number; code: string; message?: string }>>

export interface AcmeOptions {
  policy?: PlatformCredentials
  credentials?: readonly MessageInitShape<typeof SetCredentialRequestSchema>[]
  /** Keys that the provider refuses, and how; it takes all others. */
  refused?: Refusals
  gateway?: GatewayOptions
}

export interface Acme extends AsyncDisposable {
  gateway: Gateway
  url: string
  /** API key of the organization. */
  key: string
  client: Client<typeof CredentialService>
  set(request: MessageInitShape<typeof SetCredentialRequestSchema>): ReturnType<Client<typeof CredentialService>['setCredential']>
  post(path: string, body: object, key?: string, headers?: Record<string, string>): Promise<Response>
  generate(body?: object, key?: string, headers?: Record<string, string>): Promise<Response>
  modelIds(key?: string): Promise<string[]>
  task(response: Response): Promise<{ attempts: object[] }>
  /** The keys that the provider was called with. */
  keysSeen(): string[]
  /** The log lines of the organization's requests for images. */
  requestLines(): object[]
}

/** A gateway with an organization `acme`. */
export async function startAcme({ policy, credentials = [], refused = {}, gateway: options = {} }: AcmeOptions): Promise<Acme> {
  const gateway = await startGateway({ openai: withReception(refused), ...options })
  const admin = adminOf(gateway)
  await admin.createOrganization({ id: 'acme', ...(policy !== undefined && { platformCredentials: policy }) })
  const { key } = await createKey(gateway, { organizationId: 'acme' })
  const client = createClient(CredentialService, connectWith(gateway.url, gateway.adminKey))
  const set: Acme['set'] = (request) => client.setCredential({ organizationId: 'acme', ...request })
  for (const credential of credentials) await set({ provider: 'openai', ...credential })
  const post: Acme['post'] = (path, body, as = key, headers = {}) => gateway.post(path, body, { authorization: `Bearer ${as}`, ...headers })
  return {
    gateway,
    url: gateway.url,
    key,
    client,
    set,
    post,
    generate: (body = {}, as, headers) => post('/v1/images/generations', { ...picture, ...body }, as, headers),
    async modelIds(as = key) {
      const response = await gateway.get('/v1/models', { authorization: `Bearer ${as}` })
      return ((await response.json()) as { data: { id: string }[] }).data.map(({ id }) => id)
    },
    async task(response) {
      const id = response.headers.get('x-atelier-task-id')
      await response.arrayBuffer()
      return (await (await gateway.get(`/v1/tasks/${id}`, { authorization: `Bearer ${key}` })).json()) as { attempts: object[] }
    },
    keysSeen: () => gateway.openai.requests.map(({ headers }) => String(headers.authorization).replace('Bearer ', '')),
    requestLines: () =>
      gateway.logLines
        .map((line) => JSON.parse(line) as { msg: string; route: string })
        .filter(({ msg, route }) => msg === 'request' && route === '/v1/images/generations'),
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose]()
  }
}

/** A provider that takes every key but these. */
export function withReception(refused: Refusals): FakeOpenAIOptions {
  return {
    receive({ headers, body }) {
      const { status, code, message = 'refused' } = refused[String(headers.authorization).replace('Bearer ', '')] ?? {}
      if (status === undefined) return { body }
      const error = { message, type: 'invalid_request_error', param: null, code }
      return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify({ error })) }
    }
  }
}
