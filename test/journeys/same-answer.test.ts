import { createHash } from 'node:crypto'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { ConnectError, createClient, type Transport } from '@connectrpc/connect'
import { afterAll, describe, expect, test } from 'vitest'
import {
  Background,
  BackgroundSchema,
  type Image,
  ImageOutcome,
  OutputFormat,
  OutputFormatSchema,
  Quality,
  QualitySchema,
  ResponseFormat,
  Size,
  Style,
  WarningKindSchema
} from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequestSchema, ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { wireName } from '../../src/contract/wire-names.ts'
import { errorTable, type Reason } from '../../src/errors.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { download, startGateway } from '../support/gateway.ts'
import { transports } from '../support/rpc-server.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

/** What a caller is told, in words that are the same for every protocol. */
type Answer =
  | {
      images: { sha256: string; isLink: boolean; revisedPrompt: string }[]
      provider: string
      model: string
      warnings: string
      totalTokens: number
      made: Record<string, string | undefined>
    }
  | { reason: string; status: number; type: string; param: string; message: string; mayRetry: boolean; retryAfterMs: number }

type Rpc = MessageInitShape<typeof GenerateImagesRequestSchema>

interface Case {
  rest: Record<string, unknown>
  /** REST headers; on RPC the same wish is a field. */
  headers?: Record<string, string>
  rpc: Rpc
  key?: string
}

const sketch = { case: 'model', value: Model.SKETCH } as const
const dallE3 = { case: 'model', value: Model.DALL_E_3 } as const
const dallE2 = { case: 'model', value: Model.DALL_E_2 } as const
const gptImage2 = { case: 'model', value: Model.GPT_IMAGE_2 } as const
const pixels = (width: number, height: number) => ({ case: 'dimensions', value: { width, height } }) as const
const named = (value: string) => ({ case: 'modelName', value }) as const

const cases: Record<string, Case> = {
  'a preset size': {
    rest: { model: 'sketch', prompt: 'a cat', size: '256x256' },
    rpc: { modelSelector: sketch, prompt: 'a cat', sizeSelector: { case: 'size', value: Size.SIZE_256X256 } }
  },
  'exact pixels': {
    rest: { model: 'sketch', prompt: 'a cat', size: '333x222', seed: 7 },
    rpc: { modelSelector: sketch, prompt: 'a cat', sizeSelector: pixels(333, 222), seed: 7 }
  },
  'an aspect ratio': {
    rest: { model: 'sketch', prompt: 'a cat', aspect_ratio: '16:9', resolution: '512' },
    rpc: { modelSelector: sketch, prompt: 'a cat', sizeSelector: { case: 'aspectRatio', value: { width: 16, height: 9 } }, resolution: 1 }
  },
  'three images as base64': {
    rest: { model: 'sketch', prompt: 'three cats', n: 3, size: '128x128', response_format: 'b64_json' },
    rpc: { modelSelector: sketch, prompt: 'three cats', n: 3, sizeSelector: pixels(128, 128), responseFormat: ResponseFormat.B64_JSON }
  },
  'three images as links': {
    rest: { model: 'sketch', prompt: 'three cats', n: 3, size: '128x128', response_format: 'url' },
    rpc: { modelSelector: sketch, prompt: 'three cats', n: 3, sizeSelector: pixels(128, 128), responseFormat: ResponseFormat.URL }
  },
  'a format, compression and background': {
    rest: { model: 'sketch', prompt: 'a cat', size: '128x128', output_format: 'webp', output_compression: 40, background: 'transparent' },
    rpc: {
      modelSelector: sketch,
      prompt: 'a cat',
      sizeSelector: pixels(128, 128),
      outputFormat: OutputFormat.WEBP,
      outputCompression: 40,
      background: Background.TRANSPARENT
    }
  },
  'dall-e-3 with everything it knows': {
    rest: {
      model: 'dall-e-3',
      prompt: 'a cat',
      size: '1792x1024',
      quality: 'hd',
      style: 'natural',
      n: 1,
      user: 'user-1',
      response_format: 'b64_json'
    },
    rpc: {
      modelSelector: dallE3,
      prompt: 'a cat',
      sizeSelector: { case: 'size', value: Size.SIZE_1792X1024 },
      quality: Quality.HD,
      style: Style.NATURAL,
      n: 1,
      user: 'user-1',
      responseFormat: ResponseFormat.B64_JSON
    }
  },
  'dall-e-3 by default': { rest: { model: 'dall-e-3', prompt: 'a dog' }, rpc: { modelSelector: dallE3, prompt: 'a dog' } },
  'no model at all': { rest: { prompt: 'a dog' }, rpc: { prompt: 'a dog' } },
  'dall-e-2, two small ones': {
    rest: { model: 'dall-e-2', prompt: 'two dogs', n: 2, size: '256x256' },
    rpc: { modelSelector: dallE2, prompt: 'two dogs', n: 2, sizeSelector: { case: 'size', value: Size.SIZE_256X256 } }
  },
  'gpt-image-2 by default': { rest: { model: 'gpt-image-2', prompt: 'a bird' }, rpc: { modelSelector: gptImage2, prompt: 'a bird' } },
  'gpt-image-2 as a link': {
    rest: { model: 'gpt-image-2', prompt: 'a bird', response_format: 'url', quality: 'low', size: '1536x1024' },
    rpc: {
      modelSelector: gptImage2,
      prompt: 'a bird',
      responseFormat: ResponseFormat.URL,
      quality: Quality.LOW,
      sizeSelector: pixels(1536, 1024)
    }
  },
  'a model of a provider by name': {
    rest: { model: 'openai/gpt-image-1.5', prompt: 'a bird', quality: 'high' },
    rpc: { modelSelector: named('openai/gpt-image-1.5'), prompt: 'a bird', quality: Quality.HIGH }
  },
  'a dated snapshot': {
    rest: { model: 'gpt-image-2-2026-04-21', prompt: 'a bird' },
    rpc: { modelSelector: named('gpt-image-2-2026-04-21'), prompt: 'a bird' }
  },
  'parameters that the model has not': {
    rest: { model: 'gpt-image-2', prompt: 'a fish', style: 'vivid', seed: 5, negative_prompt: 'water' },
    rpc: { modelSelector: gptImage2, prompt: 'a fish', style: Style.VIVID, seed: 5, negativePrompt: 'water' }
  },
  'words of another vendor for quality': {
    rest: { model: 'sketch', prompt: 'a fish', size: '128x128', quality: 'hd', moderation: 'low', frames: 3 },
    rpc: {
      modelSelector: sketch,
      prompt: 'a fish',
      sizeSelector: pixels(128, 128),
      quality: Quality.HD,
      moderation: 2,
      providerOptions: { frames: 3 }
    }
  },
  'a parameter that the model has not, under strict': {
    rest: { model: 'gpt-image-2', prompt: 'a fish', style: 'vivid' },
    headers: { 'x-atelier-strict': 'true' },
    rpc: { modelSelector: gptImage2, prompt: 'a fish', style: Style.VIVID, strict: true }
  },
  'a request that is all right under strict': {
    rest: { model: 'dall-e-3', prompt: 'a fish', style: 'vivid' },
    headers: { 'x-atelier-strict': 'true' },
    rpc: { modelSelector: dallE3, prompt: 'a fish', style: Style.VIVID, strict: true }
  },
  'a request id, by which REST and RPC get one and the same image': {
    rest: { model: 'dall-e-3', prompt: 'a keyed fish' },
    headers: { 'idempotency-key': 'one' },
    rpc: { modelSelector: dallE3, prompt: 'a keyed fish', requestId: 'one' }
  },
  'no prompt': { rest: { model: 'dall-e-3' }, rpc: { modelSelector: dallE3 } },
  'an empty prompt': { rest: { model: 'sketch', prompt: '' }, rpc: { modelSelector: sketch, prompt: '' } },
  'a prompt that is too long for the model': {
    rest: { model: 'dall-e-3', prompt: 'x'.repeat(4001) },
    rpc: { modelSelector: dallE3, prompt: 'x'.repeat(4001) }
  },
  'a prompt that is too long for anything': {
    rest: { model: 'dall-e-3', prompt: 'x'.repeat(131_073) },
    rpc: { modelSelector: dallE3, prompt: 'x'.repeat(131_073) }
  },
  'a size of another model': {
    rest: { model: 'dall-e-3', prompt: 'a cat', size: '256x256' },
    rpc: { modelSelector: dallE3, prompt: 'a cat', sizeSelector: { case: 'size', value: Size.SIZE_256X256 } }
  },
  'a size outside the range of the model': {
    rest: { model: 'gpt-image-2', prompt: 'a cat', size: '1000x1000' },
    rpc: { modelSelector: gptImage2, prompt: 'a cat', sizeSelector: pixels(1000, 1000) }
  },
  'a size that is far too large': {
    rest: { model: 'sketch', prompt: 'a cat', size: '20000x20000' },
    rpc: { modelSelector: sketch, prompt: 'a cat', sizeSelector: pixels(20_000, 20_000) }
  },
  'two images of a model that makes one': {
    rest: { model: 'dall-e-3', prompt: 'a cat', n: 2 },
    rpc: { modelSelector: dallE3, prompt: 'a cat', n: 2 }
  },
  'no image at all': { rest: { model: 'sketch', prompt: 'a cat', n: 0 }, rpc: { modelSelector: sketch, prompt: 'a cat', n: 0 } },
  'eleven images': { rest: { model: 'sketch', prompt: 'a cat', n: 11 }, rpc: { modelSelector: sketch, prompt: 'a cat', n: 11 } },
  'a quality of another model': {
    rest: { model: 'dall-e-3', prompt: 'a cat', quality: 'low' },
    rpc: { modelSelector: dallE3, prompt: 'a cat', quality: Quality.LOW }
  },
  'a model that nobody knows': {
    rest: { model: 'dall-e-9', prompt: 'a cat' },
    rpc: { modelSelector: named('dall-e-9'), prompt: 'a cat' }
  },
  'a model without a key for its provider': {
    rest: { model: 'stability/stable-diffusion-xl-1024-v1-0', prompt: 'a cat' },
    rpc: { modelSelector: named('stability/stable-diffusion-xl-1024-v1-0'), prompt: 'a cat' }
  },
  'a prompt that OpenAI refuses': {
    rest: { model: 'dall-e-3', prompt: '[moderated]' },
    rpc: { modelSelector: dallE3, prompt: '[moderated]' }
  },
  'a prompt that GPT Image refuses': {
    rest: { model: 'gpt-image-2', prompt: '[moderated-output]' },
    rpc: { modelSelector: gptImage2, prompt: '[moderated-output]' }
  },
  'a refusal that is rehearsed': {
    rest: { model: 'sketch', prompt: 'a cat', fail: 'moderation' },
    rpc: { modelSelector: sketch, prompt: 'a cat', providerOptions: { fail: 'moderation' } }
  },
  'a rate limit': { rest: { model: 'dall-e-3', prompt: '[rate-limit]' }, rpc: { modelSelector: dallE3, prompt: '[rate-limit]' } },
  'an account without credit': { rest: { model: 'dall-e-3', prompt: '[quota]' }, rpc: { modelSelector: dallE3, prompt: '[quota]' } },
  'an account that is not verified': {
    rest: { model: 'gpt-image-2', prompt: '[unverified]' },
    rpc: { modelSelector: gptImage2, prompt: '[unverified]' }
  },
  'a failure of the provider': {
    rest: { model: 'dall-e-3', prompt: '[server-error]' },
    rpc: { modelSelector: dallE3, prompt: '[server-error]' }
  },
  'an overloaded provider': { rest: { model: 'dall-e-3', prompt: '[overloaded]' }, rpc: { modelSelector: dallE3, prompt: '[overloaded]' } },
  'a broken gateway before the provider': {
    rest: { model: 'dall-e-3', prompt: '[bad-gateway]' },
    rpc: { modelSelector: dallE3, prompt: '[bad-gateway]' }
  },
  'an error with status 200': { rest: { model: 'dall-e-3', prompt: '[error-200]' }, rpc: { modelSelector: dallE3, prompt: '[error-200]' } },
  'an answer without images': { rest: { model: 'dall-e-3', prompt: '[empty]' }, rpc: { modelSelector: dallE3, prompt: '[empty]' } },
  'a lost connection': { rest: { model: 'dall-e-3', prompt: '[reset]' }, rpc: { modelSelector: dallE3, prompt: '[reset]' } },
  'a field of the vendor that is not in the schema': {
    rest: { model: 'gpt-image-2.6-flare', prompt: 'a cat', complexity: 'low' },
    rpc: { modelSelector: named('gpt-image-2.6-flare'), prompt: 'a cat', providerOptions: { complexity: 'low' } }
  },
  'a field that the vendor refuses': {
    rest: { model: 'gpt-image-2', prompt: 'a cat', complexity: 'low' },
    rpc: { modelSelector: gptImage2, prompt: 'a cat', providerOptions: { complexity: 'low' } }
  },
  'a wrong key': {
    rest: { model: 'sketch', prompt: 'a cat' },
    rpc: { modelSelector: sketch, prompt: 'a cat' },
    key: 'sk-wrong-key-of-a-stranger'
  }
}

const protocols = Object.entries(transports)

describe.each(Object.entries(cases))('%s', (_, asked) => {
  test.each(protocols)('%s answers as REST does', async (_, transport) => {
    const [overRest, overRpc] = await Promise.all([askRest(asked), askRpc(asked, transport(gateway.url, asked.key ?? gateway.apiKey))])
    expect(overRpc).toEqual(overRest)
  })
})

test('a request id is one execution over every protocol', () => {
  expect(gateway.upstreamCalls('a keyed fish')).toBe(1)
})

test.each(protocols)('with tasks: off %s refuses a request id as REST does its header', async (_, transport) => {
  await using atelier = await startAtelier({ settings: { tasks: 'off' } })
  const asked = {
    rest: { model: 'sketch', prompt: 'a fish' },
    headers: { 'idempotency-key': 'one' },
    rpc: { modelSelector: sketch, prompt: 'a fish', requestId: 'one' }
  }
  const refusal = (param: string) => ({
    reason: 'IDEMPOTENCY_UNAVAILABLE',
    status: 400,
    param,
    message: `${param} cannot be honoured: this server keeps no tasks, so a repeated request would be executed and billed again`,
    mayRetry: false
  })
  expect(await askRest(asked, atelier)).toMatchObject(refusal('Idempotency-Key'))
  expect(await askRpc(asked, transport(atelier.url, atelier.apiKey))).toMatchObject(refusal('request_id'))
})

test('the cases reach success, warnings and every kind of error', async () => {
  const answers = await Promise.all(Object.values(cases).map((asked) => askRest(asked)))
  const reasons = new Set(answers.map((answer) => ('reason' in answer ? answer.reason : answer.warnings !== '' ? 'warned' : 'ok')))
  expect([...reasons].sort()).toEqual([
    'CONTENT_POLICY_VIOLATION',
    'INVALID_API_KEY',
    'INVALID_PARAMETER',
    'INVALID_SIZE',
    'MISSING_PARAMETER',
    'MODEL_NOT_FOUND',
    'OUTCOME_UNKNOWN',
    'PROVIDER_FAILED',
    'PROVIDER_KEY_MISSING',
    'PROVIDER_KEY_REFUSED',
    'PROVIDER_OVERLOADED',
    'PROVIDER_RATE_LIMITED',
    'PROVIDER_REJECTED',
    'UNSUPPORTED_PARAMETER',
    'ok',
    'warned'
  ])
})

test.each(protocols)('%s lists the models that REST lists', async (_, transport) => {
  const client = createClient(ModelService, transport(gateway.url, gateway.apiKey))
  const { models } = await client.listModels({})
  const { data } = (await (await gateway.get('/v1/models')).json()) as {
    data: { id: string; provider: string; owned_by: string; aliases: string[] }[]
  }
  expect(models.map(({ id, provider, ownedBy, aliases }) => ({ id, provider, owned_by: ownedBy, aliases }))).toEqual(
    data.map(({ id, provider, owned_by, aliases }) => ({ id, provider, owned_by, aliases }))
  )
})

async function askRest({ rest, headers = {}, key = gateway.apiKey }: Case, server: TestServer = gateway): Promise<Answer> {
  const response = await server.post('/v1/images/generations', rest, { ...headers, authorization: `Bearer ${key}` })
  const body = (await response.json()) as RestBody
  if (body.error) {
    const { message, type, param, code } = body.error
    return {
      reason: reasonOf(code),
      status: response.status,
      type: code === 'moderation_blocked' ? errorTable.CONTENT_POLICY_VIOLATION.type : type,
      param: param ?? '',
      message: withoutRequestId(message),
      mayRetry: (response.status === 429 || response.status >= 500) && response.headers.get('x-should-retry') !== 'false',
      retryAfterMs: Number(response.headers.get('retry-after-ms'))
    }
  }
  return {
    images: await Promise.all(
      (body.data ?? []).map(async ({ b64_json, url, revised_prompt = '' }) => ({
        sha256: sha256(url === undefined ? Buffer.from(b64_json ?? '', 'base64') : await download(url)),
        isLink: url !== undefined,
        revisedPrompt: revised_prompt
      }))
    ),
    provider: response.headers.get('x-atelier-provider') ?? '',
    model: response.headers.get('x-atelier-model') ?? '',
    warnings: response.headers.get('x-atelier-warnings') ?? '',
    totalTokens: body.usage?.total_tokens ?? 0,
    made: { size: body.size, quality: body.quality, outputFormat: body.output_format, background: body.background }
  }
}

interface RestBody {
  data?: { b64_json?: string; url?: string; revised_prompt?: string }[]
  usage?: { total_tokens: number }
  size?: string
  quality?: string
  output_format?: string
  background?: string
  error?: { message: string; type: string; param: string | null; code: string | null }
}

/** The reason behind an `error.code`; a code that is not ours is the provider's. */
function reasonOf(code: string | null): string {
  if (code === 'moderation_blocked') return 'CONTENT_POLICY_VIOLATION'
  return Object.entries(errorTable).find(([, entry]) => entry.code === code)?.[0] ?? 'PROVIDER_REJECTED'
}

async function askRpc({ rpc }: Case, transport: Transport): Promise<Answer> {
  try {
    const { images, provider, model, warnings, usage, resolved } = await createClient(ImageService, transport).generateImages(rpc)
    return {
      images: await Promise.all(images.map(describeImage)),
      provider,
      model,
      warnings: warnings
        .map(({ kind, param, message }) => `${param}=${wireName(WarningKindSchema, kind)}; message="${message.replaceAll('"', "'")}"`)
        .join(', '),
      totalTokens: Number(usage?.totalTokens ?? 0),
      made: {
        size: resolved?.size && `${resolved.size.width}x${resolved.size.height}`,
        quality: wireName(QualitySchema, resolved?.quality ?? 0),
        outputFormat: wireName(OutputFormatSchema, resolved?.outputFormat ?? 0),
        background: wireName(BackgroundSchema, resolved?.background ?? 0)
      }
    }
  } catch (thrown) {
    return describeError(ConnectError.from(thrown))
  }
}

async function describeImage({ content, revisedPrompt, outcome }: Image) {
  expect(outcome).toBe(ImageOutcome.DELIVERED)
  const bytes = content.case === 'data' ? content.value : await download(content.value)
  return { sha256: sha256(bytes), isLink: content.case === 'url', revisedPrompt }
}

function describeError(error: ConnectError): Answer {
  const { reason = '', metadata = {} } = error.findDetails(ErrorInfoSchema)[0] ?? {}
  const entry = errorTable[reason as Reason]
  expect(error.code).toBe(entry.rpc)
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay
  return {
    reason,
    status: entry.http,
    type: entry.type,
    param: error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field ?? '',
    message: withoutRequestId(error.rawMessage),
    mayRetry: metadata.retryable === 'true' && metadata.outcome !== 'unknown',
    retryAfterMs: Number(delay?.seconds ?? 0) * 1000 + (delay?.nanos ?? 0) / 1_000_000
  }
}

function withoutRequestId(message: string): string {
  return message.replace(/req_[0-9a-f]{32}/, 'req_')
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
