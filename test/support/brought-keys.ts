import { createClient } from '@connectrpc/connect'
import { CredentialService } from '../../gen/atelier/v1/credential_service_pb.ts'
import type { Settings } from '../../src/config.ts'
import { connectWith } from './admin.ts'
import { startAtelier, type TestServer } from './atelier.ts'
import { type FakeOpenAI, startFakeOpenAI } from './fake-openai.ts'

export interface OpenToKeys extends TestServer {
  /** What stands behind the provider `openai`; it takes any key. */
  readonly openai: FakeOpenAI
  /** Asks for an image with these headers alone; with a body, for what it says. */
  generate(headers: Record<string, string>, body?: Record<string, unknown>): Promise<Answer>
  /** The key that the provider was called with last. */
  lastKey(): string | undefined
  /** Stores a credential of the organization `default`. */
  storeCredential(credential: { name: string; secret: string; weight?: number; provider?: string }): Promise<void>
}

export interface Answer {
  status: number
  headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: tests compare it whole.
  body: any
}

export const platformKey = 'sk-platform-0123456789abcdef'
export const broughtKey = 'sk-of-the-caller-0123456789'

/** The whole server before a fake OpenAI that takes any key, so that a test sees whose was used. */
export async function startOpenToKeys(
  environment: Record<string, string> = { ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true' },
  settings: Partial<Settings> = {}
): Promise<OpenToKeys> {
  const openai = await startFakeOpenAI()
  const atelier = await startAtelier({
    environment: { OPENAI_API_KEY: platformKey, OPENAI_BASE_URL: openai.url, ...environment },
    settings
  })
  return {
    ...atelier,
    openai,
    async generate(headers, body = {}) {
      const response = await fetch(`${atelier.url}/v1/images/generations`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ model: 'dall-e-3', prompt: 'a cat', ...body })
      })
      return { status: response.status, headers: response.headers, body: await response.json() }
    },
    lastKey: () => openai.requests.findLast(({ method }) => method === 'POST')?.headers.authorization?.replace('Bearer ', ''),
    async storeCredential(credential) {
      await createClient(CredentialService, connectWith(atelier.url, atelier.adminKey)).setCredential({ provider: 'openai', ...credential })
    },
    async [Symbol.asyncDispose]() {
      await atelier[Symbol.asyncDispose]()
      await openai[Symbol.asyncDispose]()
    }
  }
}

/** The headers of Portkey's on an answer, without their prefix. */
export function portkeyHeadersOf(headers: Headers): Record<string, string> {
  const ours = [...headers].filter(([name]) => name.startsWith('x-portkey-'))
  return Object.fromEntries(ours.map(([name, value]) => [name.slice('x-portkey-'.length), value]))
}
