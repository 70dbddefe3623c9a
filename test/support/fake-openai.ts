import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkEdit, imageTokensOf, type RecordedFile, readForm } from './fake-openai-edits.ts'
import { type Behaviour, behaviourIn, type FakeAnswer, failureOf } from './fake-openai-failures.ts'
import { createPictures } from './fake-openai-pictures.ts'
import { checkRequest, type ImageRequest, resolveRequest, usageOf } from './fake-openai-rules.ts'

export interface FakeOpenAIOptions {
  /** The only key that is accepted; unset: any. */
  apiKey?: string
  /** Models that answer as if they had been switched off; none unless told. */
  retired?: readonly string[]
  /** Wait before every answer, in milliseconds; 0 unless told. */
  delayMs?: number
  /** Wait of `[slow]`, in milliseconds; 1000 unless told. */
  slowMs?: number
  /** Misbehaviour of one request, whatever its prompt says; `ordinal` counts from 0. */
  behaviour?: (request: RecordedRequest, ordinal: number) => Behaviour | undefined
  /** A whole answer of one request, given before anything is checked. */
  answer?: (request: RecordedRequest, ordinal: number) => FakeAnswer | undefined
  /** Somebody else's reception in place of OpenAI's: the answer that turns a request away, or the body to answer as OpenAI would. */
  receive?: (request: RecordedRequest) => FakeAnswer | { body: ImageRequest | undefined }
  /** Port on 127.0.0.1; a free one unless told. */
  port?: number
}

export interface RecordedRequest {
  method: string
  /** Path with query, e.g. "/v1/images/generations". */
  path: string
  headers: IncomingHttpHeaders
  /** The body as it came; empty for GET. */
  text: string
  /** The body as JSON, or the fields of a form with their numbers and booleans read; undefined where it is neither. */
  body: ImageRequest | undefined
  /** The files of a form, in its order. */
  files: RecordedFile[]
  /** Resolves when the exchange is over: `abandoned` where the client went away before it had the whole answer. */
  ended: Promise<'answered' | 'abandoned'>
}

export interface FakeOpenAI extends AsyncDisposable {
  /** Base URL for clients; ends in /v1. */
  url: string
  /** Every request so far, in the order of arrival. */
  requests: RecordedRequest[]
}

/**
 * A server on a port of its own that answers `POST /v1/images/generations` and `/v1/images/edits`, the latter in multipart alone,
 * `GET /v1/models` and the links that it hands out as OpenAI does: keys, fields, files, sizes and limits are checked per model, and the
 * images are real. A prompt with one of these words gets that answer instead of an image:
 *
 * `[moderated]` `[moderated-output]` a refusal, in DALL·E's or GPT Image's wording by model · `[rate-limit]` 429 with waits ·
 * `[quota]` 429 and `[billing-limit]` 400 for an account without credit · `[unverified]` 403 · `[server-error]` 500 · `[overloaded]` 503 ·
 * `[bad-gateway]` 502 in HTML · `[redirect]` 307 · `[error-200]` an error object with status 200 · `[malformed]` no JSON · `[empty]` no
 * images · `[truncated]` ends in the middle of the JSON · `[short]` fewer bytes than its content-length · `[reset]` no answer, connection
 * reset · `[hang]` no answer · `[hang-body]` stops in the middle of an image · `[slow]` answers after `slowMs` · `[large]` incompressible
 * images, about 3 MB at 1024x1024 · `[stream-error]` an error event after the partial images, with `stream: true`
 */
export async function startFakeOpenAI(options: FakeOpenAIOptions = {}): Promise<FakeOpenAI> {
  const requests: RecordedRequest[] = []
  const pictures = createPictures()
  const stopped = new AbortController()
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      if (!response.destroyed) response.destroy(error instanceof Error ? error : undefined)
    })
  })
  server.listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const ended = new Promise<'answered' | 'abandoned'>((resolve) => {
      response.once('close', () => resolve(response.writableFinished ? 'answered' : 'abandoned'))
    })
    const path = request.url ?? ''
    const file = request.method === 'GET' ? pictures.find(path.split('?')[0] ?? '') : undefined
    if (file) return reply(response, { status: 200, headers: { 'content-type': file.mediaType }, body: file.bytes })

    const bytes = Buffer.concat(await request.toArray())
    const text = bytes.toString()
    const form = await readForm(bytes, request.headers['content-type'])
    const { body, files } = form ?? { body: parseObject(text), files: [] }
    const recorded = { method: request.method ?? '', path, headers: request.headers, text, body, files, ended }
    const ordinal = requests.push(recorded) - 1
    const canned = options.answer?.(recorded, ordinal)
    if (canned) return reply(response, canned)
    const received = options.receive?.(recorded)
    if (received && 'status' in received) return reply(response, received)
    if (received) return answerImages({ ...recorded, body: received.body }, ordinal, response)
    const refusal = checkKey(request.headers.authorization, options.apiKey)
    if (refusal) return reply(response, refusal)
    if (options.delayMs) await sleep(options.delayMs, undefined, { signal: stopped.signal })
    if (request.method === 'GET' && path === '/v1/models') return reply(response, json(200, modelList(options.retired ?? [])))
    if (request.method !== 'POST' || !/^\/v1\/images\/(generations|edits)(\?|$)/.test(path)) {
      return reply(response, apiError(404, `Invalid URL (${request.method} ${path})`, { code: 'unknown_url' }))
    }
    await answerImages(recorded, ordinal, response)
  }

  async function answerImages(request: RecordedRequest, ordinal: number, response: ServerResponse): Promise<void> {
    const body = request.body
    if (!body) return reply(response, apiError(400, 'We could not parse the JSON body of your request.', {}))
    const isEdit = isEditPath(request.path)
    const problem = await (isEdit ? checkEdit(body, request.files, options.retired ?? []) : checkRequest(body, options.retired ?? []))
    if (problem) return reply(response, apiError(problem.status, problem.message, problem))
    const behaviour = options.behaviour?.(request, ordinal) ?? behaviourIn(String(body.prompt))
    const failure = behaviour && failureOf(behaviour, resolveRequest(body).family)
    if (failure) return reply(response, failure)
    if (behaviour === 'hang') return
    if (behaviour === 'reset') return void response.socket?.resetAndDestroy()
    if (behaviour === 'slow') await sleep(options.slowMs ?? 1000, undefined, { signal: stopped.signal })
    const imageTokens = isEdit ? await imageTokensOf(body, request.files) : 0
    if (body.stream === true) return stream(body, isEdit ? 'image_edit' : 'image_generation', imageTokens, behaviour, response)
    const whole = await success(body, imageTokens, behaviour === 'large')
    if (behaviour === 'truncated') return reply(response, { ...whole, body: whole.body.subarray(0, whole.body.length - 100) })
    if (behaviour === 'short' || behaviour === 'hang-body') {
      response.writeHead(whole.status, { ...whole.headers, ...commonHeaders(), 'content-length': whole.body.length })
      response.write(whole.body.subarray(0, whole.body.length / 2), () => {
        if (behaviour === 'short') response.socket?.end()
      })
      return
    }
    reply(response, whole)
  }

  async function success(body: ImageRequest, imageTokens: number, incompressible: boolean): Promise<FakeAnswer> {
    const request = resolveRequest(body)
    const { family, n, size, quality, outputFormat, background, prompt } = request
    const made = await Promise.all(
      Array.from({ length: n }, (_, index) => pictures.draw({ ...request, seed: `${prompt} ${index}`, incompressible }))
    )
    const data = made.map((picture) => ({
      ...(family === 'dall-e-3' ? { revised_prompt: `A detailed, high-quality image of the following: ${prompt}` } : {}),
      ...(request.asUrl ? { url: `${origin}${pictures.publish(picture)}?se=2026-11-20T12%3A00%3A00Z&sig=kKGJ%2Bw%3D` } : {}),
      ...(request.asUrl ? {} : { b64_json: picture.base64 })
    }))
    const created = Math.floor(Date.now() / 1000)
    if (family !== 'gpt-image') return json(200, { created, data })
    return json(200, { created, background, data, output_format: outputFormat, quality, size, usage: usageOf(request, imageTokens) })
  }

  /** Server-sent events: partial images, then each image. `[truncated]` ends inside the last event, `[stream-error]` instead of it. */
  async function stream(
    body: ImageRequest,
    operation: string,
    imageTokens: number,
    behaviour: Behaviour | undefined,
    response: ServerResponse
  ): Promise<void> {
    const request = resolveRequest(body)
    const { n, size, quality, outputFormat, background, prompt } = request
    const created_at = Math.floor(Date.now() / 1000)
    const common = { created_at, size, quality, background, output_format: outputFormat }
    const draw = (seed: string) => pictures.draw({ ...request, seed, incompressible: behaviour === 'large' })
    response.writeHead(200, { ...commonHeaders(), 'content-type': 'text/event-stream; charset=utf-8' })
    for (let index = 0; index < n; index++) {
      for (let partial = 0; partial < Number(body.partial_images ?? 0); partial++) {
        const { base64 } = await draw(`${prompt} ${index} partial ${partial}`)
        response.write(serverSentEvent({ type: `${operation}.partial_image`, b64_json: base64, ...common, partial_image_index: partial }))
        if (behaviour === 'slow') await sleep(options.slowMs ?? 1000, undefined, { signal: stopped.signal })
      }
      if (behaviour === 'stream-error') {
        const error = {
          type: 'image_generation_server_error',
          code: 'image_generation_failed',
          message: 'Image generation failed.',
          param: null
        }
        return void response.end(serverSentEvent({ type: 'error', error }))
      }
      const { base64 } = await draw(`${prompt} ${index}`)
      const usage = usageOf(request, imageTokens)
      const event = serverSentEvent({ type: `${operation}.completed`, b64_json: base64, ...common, usage })
      response.write(behaviour === 'truncated' ? event.slice(0, event.length / 2) : event)
    }
    response.end()
  }

  return {
    url: `${origin}/v1`,
    requests,
    async [Symbol.asyncDispose]() {
      stopped.abort()
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
}

function isEditPath(path: string): boolean {
  return /\/images\/edits(\?|$)/.test(path)
}

function serverSentEvent(data: { type: string; [field: string]: unknown }): string {
  return `event: ${data.type}\ndata: ${JSON.stringify(data)}\n\n`
}

function checkKey(authorization: string | undefined, apiKey: string | undefined): FakeAnswer | undefined {
  const key = /^Bearer (.+)$/.exec(authorization ?? '')?.[1]
  if (key === undefined) {
    const message =
      "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys."
    return apiError(401, message, {})
  }
  if (apiKey === undefined || key === apiKey) return undefined
  const masked = `${key.slice(0, 7)}${'*'.repeat(Math.max(3, key.length - 11))}${key.slice(-4)}`
  const message = `Incorrect API key provided: ${masked}. You can find your API key at https://platform.openai.com/account/api-keys.`
  return apiError(401, message, { code: 'invalid_api_key' })
}

function apiError(status: number, message: string, options: { param?: string; code?: string }): FakeAnswer {
  return json(status, { error: { message, type: 'invalid_request_error', param: options.param ?? null, code: options.code ?? null } })
}

function json(status: number, body: unknown): FakeAnswer {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(body)) }
}

function reply(response: ServerResponse, { status, headers, body }: FakeAnswer): void {
  response.writeHead(status, { ...commonHeaders(), ...headers, 'content-length': body.length })
  response.end(body)
}

function commonHeaders(): Record<string, string> {
  return { 'x-request-id': 'req_8f1c2b6d4e0a4b7f9c3d5e6f7a8b9c0d', 'openai-version': '2020-10-01', 'openai-processing-ms': '12' }
}

function modelList(retired: readonly string[]): unknown {
  const names = ['gpt-image-1', 'gpt-image-1-mini', 'gpt-image-1.5', 'gpt-image-2', 'gpt-image-2.6-sunburst', 'dall-e-2', 'dall-e-3']
  const data = names
    .filter((id) => !retired.includes(id))
    .map((id) => ({ id, object: 'model', created: 1_745_517_030, owned_by: 'system' }))
  return { object: 'list', data }
}

function parseObject(text: string): ImageRequest | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as ImageRequest) : undefined
  } catch {
    return undefined
  }
}
