import { startAtelier, type TestServer, type TestServerOptions } from './atelier.ts'
import { type FakeOpenAI, type FakeOpenAIOptions, startFakeOpenAI } from './fake-openai.ts'

export interface Gateway extends TestServer {
  /** What stands behind the provider `openai`. */
  readonly openai: FakeOpenAI
  /** Base URL for OpenAI's SDKs; ends in /v1. */
  readonly baseUrl: string
  /** How often the gateway asked the provider for an image with this prompt. */
  upstreamCalls(prompt: string): number
  /** How the provider's first exchange about this prompt ended, as soon as it has. */
  upstreamEnd(prompt: string): Promise<'answered' | 'abandoned' | undefined>
  /** The image that the provider makes for this prompt, taken from it directly. */
  upstreamImage(request: { model: string; prompt: string; size?: string }): Promise<Buffer>
}

export interface GatewayOptions extends TestServerOptions {
  openai?: FakeOpenAIOptions
}

const providerKey = 'sk-provider-0123456789abcdef'

/** The whole server with a fake OpenAI behind it, besides the built-in `sketch`. */
export async function startGateway({ openai: fake = {}, environment = {}, settings = {} }: GatewayOptions = {}): Promise<Gateway> {
  const openai = await startFakeOpenAI({ apiKey: providerKey, ...fake })
  const atelier = await startAtelier({
    environment: { OPENAI_API_KEY: providerKey, OPENAI_BASE_URL: openai.url, ...environment },
    settings
  })
  return {
    ...atelier,
    openai,
    baseUrl: `${atelier.url}/v1`,
    upstreamCalls: (prompt) => openai.requests.filter(({ body, headers }) => body?.prompt === prompt && !headers['x-direct']).length,
    upstreamEnd: async (prompt) => openai.requests.find(({ body }) => body?.prompt === prompt)?.ended,
    async upstreamImage(request) {
      const response = await fetch(`${openai.url}/images/generations`, {
        method: 'POST',
        headers: { authorization: `Bearer ${providerKey}`, 'content-type': 'application/json', 'x-direct': 'yes' },
        body: JSON.stringify({ ...request, ...(request.model.startsWith('dall-e-') ? { response_format: 'b64_json' } : {}) })
      })
      const { data } = (await response.json()) as { data: { b64_json: string }[] }
      return Buffer.from(data[0]?.b64_json ?? '', 'base64')
    },
    async [Symbol.asyncDispose]() {
      await atelier[Symbol.asyncDispose]()
      await openai[Symbol.asyncDispose]()
    }
  }
}

/** Bytes behind a link. */
export async function download(url: string | undefined): Promise<Buffer> {
  const response = await fetch(url ?? '')
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`)
  return Buffer.from(await response.arrayBuffer())
}

/** An upstream that asks twice to slow down, for 5 ms each time, where a prompt begins with "busy at first". */
export function createBusyUpstream(): NonNullable<FakeOpenAIOptions['answer']> {
  const refusals = new Map<string, number>()
  return ({ body, headers }) => {
    const prompt = String(body?.prompt)
    const refused = refusals.get(prompt) ?? 0
    if (!prompt.startsWith('busy at first') || headers['x-direct'] || refused === 2) return undefined
    refusals.set(prompt, refused + 1)
    return {
      status: 429,
      headers: { 'content-type': 'application/json', 'retry-after-ms': '5' },
      body: Buffer.from('{"error":{"message":"Slow down.","type":"requests","param":null,"code":"rate_limit_exceeded"}}')
    }
  }
}
