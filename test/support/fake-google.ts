import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { behaviourIn, errorAnswer, failureOf, filteredOut, type GoogleBehaviour, json } from './fake-google-failures.ts'
import { checkRequest, imagesIn, type JsonMap, promptOf, resolveRequest } from './fake-google-rules.ts'
import type { FakeAnswer } from './fake-openai-failures.ts'
import { createPictures, type Picture } from './fake-openai-pictures.ts'

export interface FakeGoogleOptions {
  /** The only key that is accepted; unset: any. */
  apiKey?: string
  /** A whole answer of one request, given before anything is checked. */
  answer?: (request: RecordedGoogleRequest, ordinal: number) => FakeAnswer | undefined
}

export interface RecordedGoogleRequest {
  method: string
  /** Path with query, e.g. "/v1beta/models/gemini-3-pro-image:generateContent". */
  path: string
  headers: IncomingHttpHeaders
  /** The body as JSON; undefined where it is none. */
  body: JsonMap | undefined
  /** Length of the body in bytes. */
  sizeBytes: number
  /** Resolves when the exchange is over: `abandoned` where the client went away before it had the whole answer. */
  ended: Promise<'answered' | 'abandoned'>
}

export interface FakeGoogle extends AsyncDisposable {
  /** Base URL for clients; ends in /v1beta. */
  url: string
  /** Every request so far, in the order of arrival. */
  requests: RecordedGoogleRequest[]
}

/**
 * A server on a port of its own that answers `POST /v1beta/models/{model}:generateContent` as the Gemini API does for image models: keys,
 * fields, ratios and sizes are checked per model, and the images are real. Other than the vendor, which a user saw ignore it,
 * gemini-2.5-flash-image refuses an `imageSize` here: it would have no effect. A prompt with one of these words gets that answer:
 *
 * `[blocked]` `[blocked-empty]` a refused prompt, without candidates or with none · `[withheld]` `[prohibited]` `[rated]` `[filtered]` a
 * withheld image, said with and without a message, by ratings, and by the message alone · `[no-image]` `[image-other]` `[text-only]`
 * `[no-candidates]` no image for other reasons · `[drafts]` three images, of which the last is the result · `[withheld-drafts]` two, and the
 * result withheld · `[rate-limit]` 429 with a delay · `[no-quota]` `[no-credit]` 429 and `[location]` 400 and `[leaked-key]` 403 for the
 * account · `[overloaded]` 503 · `[internal]` 500 · `[late]` 504 · `[bad-gateway]` 502 in HTML · `[redirect]` 307 · `[error-200]` an error
 * object with status 200 · `[malformed]` no JSON · `[truncated]` ends in the middle of the image · `[short]` fewer bytes than its
 * content-length · `[reset]` no answer, connection reset · `[hang]` no answer · `[hang-body]` stops in the middle of the image · `[large]`
 * an incompressible image
 */
export async function startFakeGoogle(options: FakeGoogleOptions = {}): Promise<FakeGoogle> {
  const requests: RecordedGoogleRequest[] = []
  const pictures = createPictures()
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (!response.destroyed) response.destroy(error instanceof Error ? error : undefined)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const ended = new Promise<'answered' | 'abandoned'>((resolve) => {
      response.once('close', () => resolve(response.writableFinished ? 'answered' : 'abandoned'))
    })
    const path = request.url ?? ''
    const bytes = Buffer.concat(await request.toArray())
    const body = parseObject(bytes.toString())
    const recorded = { method: request.method ?? '', path, headers: request.headers, body, sizeBytes: bytes.length, ended }
    const ordinal = requests.push(recorded) - 1
    const canned = options.answer?.(recorded, ordinal) ?? checkKey(request.headers['x-goog-api-key'], options.apiKey)
    if (canned) return reply(response, canned)
    if (bytes.length > 20_971_520) {
      return reply(response, errorAnswer(400, 'INVALID_ARGUMENT', 'Request payload size exceeds the limit: 20971520 bytes.'))
    }
    const model = /^\/v1beta\/models\/([^/:?]+):generateContent$/.exec(path)?.[1]
    if (request.method !== 'POST' || model === undefined) return reply(response, errorAnswer(404, 'NOT_FOUND', ''))
    if (!body) return reply(response, errorAnswer(400, 'INVALID_ARGUMENT', 'Invalid JSON payload received.'))
    const refusal = checkRequest(decodeURIComponent(model), body)
    if (refusal) return reply(response, errorAnswer(refusal.code, refusal.status, refusal.message, refusal.details))
    await answerImage(decodeURIComponent(model), body, response)
  }

  async function answerImage(model: string, body: JsonMap, response: ServerResponse): Promise<void> {
    const behaviour = behaviourIn(promptOf(body))
    const failure = behaviour && failureOf(behaviour, model)
    if (failure) return reply(response, failure)
    if (behaviour === 'hang') return
    if (behaviour === 'reset') return void response.socket?.resetAndDestroy()
    const whole = await success(model, body, behaviour)
    const half = whole.body.subarray(0, whole.body.length / 2)
    if (behaviour === 'truncated') return reply(response, { ...whole, body: half })
    if (behaviour !== 'short' && behaviour !== 'hang-body') return reply(response, whole)
    response.writeHead(whole.status, { ...whole.headers, 'content-length': whole.body.length })
    response.write(half, () => {
      if (behaviour === 'short') response.socket?.end()
    })
  }

  async function success(model: string, body: JsonMap, behaviour: GoogleBehaviour | undefined): Promise<FakeAnswer> {
    const request = resolveRequest(model, body)
    const draw = (seed: string) => pictures.draw({ ...request, seed, transparent: false, incompressible: behaviour === 'large' })
    const withDrafts = behaviour === 'drafts' || behaviour === 'withheld-drafts'
    const drafts = withDrafts ? await Promise.all([draw('first draft'), draw('second draft')]) : []
    const withheld = behaviour === 'withheld-drafts'
    const images = withheld ? drafts : [...drafts, await draw(request.seed)]
    const verdict = withheld ? { finishReason: 'IMAGE_SAFETY', finishMessage: filteredOut } : { finishReason: 'STOP' }
    // The vendor marks the first draft as a thought, and most others as nothing.
    const parts = images.map((image, index) => imagePart(image, withDrafts && index === 0))
    const thoughts = model === 'gemini-3-pro-image' ? 208 : 0
    return json(200, {
      candidates: [{ content: { parts, role: 'model' }, ...verdict, index: 0 }],
      usageMetadata: usageOf(request.prompt, imagesIn(body).length, images.length, thoughts),
      modelVersion: model,
      responseId: 'GOOYaaOTN_r7nsEPv5nSwAo'
    })
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1beta`,
    requests,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
}

function imagePart({ mediaType, base64 }: Picture, thought: boolean): JsonMap {
  const thoughtSignature = Buffer.alloc(3000, 'signature').toString('base64')
  return { ...(thought ? { thought } : {}), inlineData: { mimeType: mediaType, data: base64 }, thoughtSignature }
}

/** The output's details count the images alone. */
function usageOf(prompt: string, inputs: number, images: number, thoughts: number): JsonMap {
  const words = Math.ceil(prompt.length / 4)
  const promptTokenCount = words + inputs * 258
  const candidatesTokenCount = images * 1120 + 100
  return {
    promptTokenCount,
    candidatesTokenCount,
    totalTokenCount: promptTokenCount + candidatesTokenCount + thoughts,
    promptTokensDetails: [
      { modality: 'TEXT', tokenCount: words },
      ...(inputs > 0 ? [{ modality: 'IMAGE', tokenCount: inputs * 258 }] : [])
    ],
    candidatesTokensDetails: [{ modality: 'IMAGE', tokenCount: images * 1120 }],
    ...(thoughts === 0 ? {} : { thoughtsTokenCount: thoughts })
  }
}

function checkKey(key: string | string[] | undefined, apiKey: string | undefined): FakeAnswer | undefined {
  if (key === undefined) {
    const message =
      "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API."
    return errorAnswer(403, 'PERMISSION_DENIED', message)
  }
  if (apiKey === undefined || key === apiKey) return undefined
  const domain = 'googleapis.com'
  return errorAnswer(400, 'INVALID_ARGUMENT', 'API key not valid. Please pass a valid API key.', [
    { '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID', domain },
    {
      '@type': 'type.googleapis.com/google.rpc.LocalizedMessage',
      locale: 'en-US',
      message: 'API key not valid. Please pass a valid API key.'
    }
  ])
}

function reply(response: ServerResponse, { status, headers, body }: FakeAnswer): void {
  response.writeHead(status, { 'x-gemini-service-tier': 'standard', ...headers, 'content-length': body.length })
  response.end(body)
}

function parseObject(text: string): JsonMap | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonMap) : undefined
  } catch {
    return undefined
  }
}
