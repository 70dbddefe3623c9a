import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import type { FakeAnswer } from './fake-openai-failures.ts'
import { createPictures } from './fake-openai-pictures.ts'
import { checkSize, type EditedImage, editedBy } from './fake-stability-edits.ts'
import {
  checkV1,
  checkV1Edit,
  checkV2,
  type Fields,
  orderV1,
  orderV1Edit,
  orderV2,
  type Refusal,
  type StabilityOrder,
  type V2Endpoint
} from './fake-stability-rules.ts'
import { startUpstreamServer } from './upstream-server.ts'

export interface FakeStabilityOptions {
  /** The only key that is accepted; unset: any. */
  apiKey?: string
  /** Wait of `[slow]`, in milliseconds; 1000 unless told. */
  slowMs?: number
  /** A whole answer of one request, given before anything is checked. */
  answer?: (request: RecordedCall, ordinal: number) => FakeAnswer | undefined
}

export interface RecordedCall {
  method: string
  path: string
  headers: IncomingHttpHeaders
  /** The body as it came. */
  text: string
  /** JSON, or the fields of a form, of files their names; undefined where it is neither. */
  body: Fields | undefined
  /** The files of a form by the names of their fields. */
  files: Readonly<Record<string, Buffer>>
  /** Resolves when the exchange is over: `abandoned` where the client went away before it had the whole answer. */
  ended: Promise<'answered' | 'abandoned'>
}

export interface FakeStability extends AsyncDisposable {
  /** Base URL for clients, without a path. */
  url: string
  /** Every request so far, in the order of arrival. */
  requests: RecordedCall[]
}

/**
 * A server on a port of its own that answers `POST /v1/generation/{engine}/text-to-image`, `image-to-image` and its `masking`,
 * `POST /v2beta/stable-image/generate/{core|ultra|sd3}` and `edit/inpaint` as Stability documents it: keys, media types, fields, files,
 * sizes and limits are checked, and the images are real; what is masked stays as it was. A prompt with one of these words gets that
 * answer instead:
 *
 * `[moderated]` a refusal by the moderation · `[filtered]` a blurred image with the finish reason CONTENT_FILTERED, of several samples
 * only the first · `[all-filtered]` every sample · `[failed]` the finish reason ERROR · `[rate-limit]` 429 · `[no-credit]` 402 ·
 * `[forbidden]` 403 · `[server-error]` 500 · `[bad-gateway]` 502 in HTML · `[redirect]` 307 · `[not-an-image]` 200 in HTML · `[empty]`
 * no image · `[truncated]` ends in the middle · `[reset]` no answer, connection reset · `[hang]` no answer · `[hang-body]` stops in the
 * middle of an image · `[slow]` answers after `slowMs` · `[large]` incompressible images
 */
export async function startFakeStability(options: FakeStabilityOptions = {}): Promise<FakeStability> {
  const requests: RecordedCall[] = []
  const pictures = createPictures()
  const stopped = new AbortController()
  const server = await startUpstreamServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined))
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const ended = new Promise<'answered' | 'abandoned'>((resolve) => {
      response.once('close', () => resolve(response.writableFinished ? 'answered' : 'abandoned'))
    })
    const { method = '', url: path = '', headers } = request
    const bytes = Buffer.concat(await request.toArray())
    const { body, files } = (await readFields(bytes, headers['content-type'])) ?? { body: undefined, files: {} }
    const call = { method, path, headers, text: bytes.toString(), body, files, ended }
    const ordinal = requests.push(call) - 1
    const v1 = /^\/v1\/generation\/([^/]+)\/(text-to-image|image-to-image(?:\/masking)?)$/.exec(path)
    const v2 = /^\/v2beta\/stable-image\/(?:generate\/(?=core|ultra|sd3)|edit\/(?=inpaint))(core|ultra|sd3|inpaint)$/.exec(path)
    const canned = options.answer?.(call, ordinal)
    if (canned) return reply(response, canned)
    const refusal = checkKey(headers.authorization, options.apiKey)
    if (refusal) return reply(response, refusal)
    if (bytes.length > largestBytes) {
      return reply(response, v2Error({ status: 413, name: 'payload_too_large', message: 'The request was larger than 10MiB.' }))
    }
    if (method === 'POST' && v1) return answerV1(call, decodeURIComponent(v1[1] ?? ''), v1[2] ?? '', response)
    if (method === 'POST' && v2) return answerV2(call, v2[1] as V2Endpoint, response)
    reply(response, v1Error({ status: 404, name: 'not_found', message: 'The requested resource was not found.' }))
  }

  async function answerV1(call: RecordedCall, engine: string, operation: string, response: ServerResponse): Promise<void> {
    const { headers, body } = call
    const accept = headers.accept ?? 'application/json'
    const refuse = (refusal: Refusal) => reply(response, v1Error(refusal))
    if (engine !== 'stable-diffusion-xl-1024-v1-0') {
      return refuse({ status: 404, name: 'not_found', message: `The specified engine (ID ${engine}) was not found.` })
    }
    const mediaType = operation === 'text-to-image' ? 'application/json' : 'multipart/form-data'
    if (mediaTypeOf(headers['content-type']) !== mediaType || !body) return refuse(bad(`content-type: must be ${mediaType}`))
    if (!['application/json', 'image/png'].includes(accept)) return refuse(bad('accept: must be application/json or image/png'))
    const form = accept === 'image/png' ? 'bytes' : 'artifacts'
    if (operation !== 'text-to-image') {
      const masking = operation.endsWith('masking')
      const problem = checkV1Edit(body, masking, accept) ?? refusalOf(orderV1Edit(body).prompt, 'v1')
      if (problem) return refuse(problem)
      const edited = await editedBy(call.files, 'init_image', 'mask_image', body.mask_source === 'MASK_IMAGE_BLACK')
      const wrong = checkSize(edited, 'sdxl')
      return wrong || 'status' in edited ? refuse(wrong ?? bad('init_image: invalid')) : deliver(orderV1Edit(body), form, response, edited)
    }
    const refusal = checkV1(body, accept) ?? refusalOf(String(orderV1(body).prompt), 'v1')
    if (refusal) return refuse(refusal)
    await deliver(orderV1(body), form, response)
  }

  async function answerV2({ headers, body, files }: RecordedCall, endpoint: V2Endpoint, response: ServerResponse): Promise<void> {
    const accept = headers.accept ?? 'image/*'
    const refuse = (refusal: Refusal) => reply(response, v2Error(refusal))
    if (headers['content-type'] === undefined) return refuse(bad('content-type: required'))
    if (mediaTypeOf(headers['content-type']) !== 'multipart/form-data' || !body) {
      return refuse(bad('content-type: must be multipart/form-data'))
    }
    if (!['application/json', 'image/*'].includes(accept)) return refuse(bad('accept: must be application/json or image/*'))
    const refusal = checkV2(body, endpoint) ?? refusalOf(String(body.prompt), 'v2')
    if (refusal) return refuse(refusal)
    const edited = files.image ? await editedBy(files, 'image', 'mask', false) : undefined
    const wrong = edited && checkSize(edited, endpoint)
    if (wrong) return refuse(wrong)
    await deliver(
      orderV2(body, endpoint),
      accept === 'image/*' ? 'bytes' : 'json',
      response,
      edited && 'paint' in edited ? edited : undefined
    )
  }

  async function deliver(
    order: StabilityOrder,
    form: 'bytes' | 'artifacts' | 'json',
    response: ServerResponse,
    edited?: EditedImage
  ): Promise<void> {
    const { prompt } = order
    const says = (word: string) => prompt.includes(`[${word}]`)
    if (says('bad-gateway')) return reply(response, html(502))
    if (says('not-an-image')) return reply(response, html(200))
    if (says('redirect')) return reply(response, { ...html(307), headers: { location: 'https://elsewhere.example/v1' } })
    if (says('reset')) return void response.socket?.resetAndDestroy()
    if (says('hang')) return
    if (says('slow')) await sleep(options.slowMs ?? 1000, undefined, { signal: stopped.signal })
    const whole = says('empty') ? nothing(form) : await success(order, form, edited)
    if (!says('truncated') && !says('hang-body')) return reply(response, whole)
    response.writeHead(whole.status, { ...whole.headers, 'content-length': whole.body.length })
    response.write(whole.body.subarray(0, whole.body.length / 2), () => {
      if (says('truncated')) response.socket?.end()
    })
  }

  async function success(order: StabilityOrder, form: 'bytes' | 'artifacts' | 'json', edited?: EditedImage): Promise<FakeAnswer> {
    const { prompt, samples, outputFormat } = order
    const { width, height } = edited ?? order
    const made = await Promise.all(
      Array.from({ length: samples }, async (_, index) => {
        const seed = order.seed === 0 ? createHash('sha256').update(`${prompt} ${index}`).digest().readUInt32BE() : order.seed + index
        const incompressible = prompt.includes('[large]')
        const picture = await pictures.draw({ width, height, outputFormat, transparent: false, seed: `${prompt} ${seed}`, incompressible })
        const finishReason = finishReasonOf(prompt, index)
        const drawn = edited ? await edited.paint(picture.bytes, outputFormat) : picture.bytes
        const bytes = finishReason === 'CONTENT_FILTERED' ? await sharp(drawn).blur(30).toBuffer() : drawn
        return { bytes, seed, finishReason, mediaType: picture.mediaType }
      })
    )
    const [{ bytes, seed, finishReason, mediaType } = { bytes: Buffer.alloc(0), seed: 0, finishReason: '', mediaType: '' }] = made
    if (form === 'bytes') {
      return { status: 200, headers: { 'content-type': mediaType, 'finish-reason': finishReason, seed: String(seed) }, body: bytes }
    }
    if (form === 'json') return json(200, { image: bytes.toString('base64'), finish_reason: finishReason, seed })
    return json(200, { artifacts: made.map(({ bytes, seed, finishReason }) => ({ base64: bytes.toString('base64'), seed, finishReason })) })
  }

  return {
    url: server.origin,
    requests,
    async [Symbol.asyncDispose]() {
      stopped.abort()
      await server[Symbol.asyncDispose]()
    }
  }
}

const largestBytes = 10_485_760

async function readFields(
  bytes: Buffer,
  contentType = ''
): Promise<{ body: Fields | undefined; files: Record<string, Buffer> } | undefined> {
  try {
    const response = new Response(new Uint8Array(bytes), { headers: { 'content-type': contentType } })
    if (mediaTypeOf(contentType) !== 'multipart/form-data') {
      const value: unknown = await response.json()
      return { body: typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined, files: {} }
    }
    const body: Fields = {}
    const files: Record<string, Buffer> = {}
    for (const [name, value] of await response.formData()) {
      body[name] = typeof value === 'string' ? value : value.name
      if (typeof value !== 'string') files[name] = Buffer.from(await value.arrayBuffer())
    }
    return { body, files }
  } catch {
    return undefined
  }
}

function checkKey(authorization: string | undefined, apiKey: string | undefined): FakeAnswer | undefined {
  const refuse = (message: string) => v1Error({ status: 401, name: 'unauthorized', message })
  if (authorization === undefined) return refuse('missing authorization header')
  return apiKey === undefined || authorization === `Bearer ${apiKey}` ? undefined : refuse('Incorrect API key provided')
}

function refusalOf(prompt: string, version: 'v1' | 'v2'): Refusal | undefined {
  const says = (word: string) => prompt.includes(`[${word}]`)
  if (says('moderated')) {
    return version === 'v1'
      ? { status: 400, name: 'invalid_prompts', message: 'Invalid prompts detected' }
      : {
          status: 403,
          name: 'content_moderation',
          message:
            'Your request was flagged by our content moderation system, as a result your request was denied and you were not charged.'
        }
  }
  if (says('rate-limit')) {
    const message = 'You have exceeded the rate limit of 150 requests within a 10 second period, and have been timed out for 60 seconds.'
    return { status: 429, name: 'rate_limit_exceeded', message }
  }
  if (says('no-credit')) {
    const message =
      'You lack sufficient credits to make this request. Please purchase more credits at https://platform.stability.ai/account/credits and try again.'
    return { status: 402, name: 'payment_required', message }
  }
  if (says('forbidden')) return { status: 403, name: 'permission_denied', message: 'You do not have permission to access this resource' }
  if (says('server-error')) {
    return { status: 500, name: 'server_error', message: 'An unexpected server error occurred, please try again.' }
  }
  return undefined
}

function finishReasonOf(prompt: string, index: number): string {
  if (prompt.includes('[failed]')) return 'ERROR'
  return prompt.includes('[all-filtered]') || (index === 0 && prompt.includes('[filtered]')) ? 'CONTENT_FILTERED' : 'SUCCESS'
}

function nothing(form: string): FakeAnswer {
  if (form !== 'bytes') return json(200, form === 'artifacts' ? { artifacts: [] } : {})
  return { status: 200, headers: { 'content-type': 'image/png', 'finish-reason': 'SUCCESS' }, body: Buffer.alloc(0) }
}

function bad(message: string): Refusal {
  return { status: 400, name: 'bad_request', message }
}

function v1Error({ status, name, message }: Refusal): FakeAnswer {
  return json(status, { id: '296a972f-666a-44a1-a3df-c9c28a1f56c0', name, message })
}

function v2Error({ status, name, message }: Refusal): FakeAnswer {
  return json(status, { id: 'ed14db44362126aab3cbd25cca51ffe3', name, errors: [message] })
}

function json(status: number, body: unknown): FakeAnswer {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(body)) }
}

function html(status: number): FakeAnswer {
  return { status, headers: { 'content-type': 'text/html' }, body: Buffer.from(`<html><body><h1>${status}</h1></body></html>`) }
}

function mediaTypeOf(contentType = ''): string {
  return contentType.split(';', 1).join().trim().toLowerCase()
}

function reply(response: ServerResponse, { status, headers, body }: FakeAnswer): void {
  response.writeHead(status, { ...headers, 'content-length': body.length })
  response.end(body)
}
