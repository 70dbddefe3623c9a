import type { ServerResponse } from 'node:http'
import type { JsonObject } from '@bufbuild/protobuf'
import { type Cost, type Warning, WarningKindSchema } from '../../gen/atelier/v1/image_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import { forEachEvent } from '../events/event-iterators.ts'
import { type GenerationEvent, isImageBody } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'
import { encodeCompleted, encodeIncluded } from './openai-json.ts'
import { setPortkeyProvider } from './portkey-headers.ts'
import { type Included, nothingIncluded } from './request-headers.ts'
import type { RequestRecord } from './request-record.ts'
import { sendChunks } from './send-chunks.ts'

export interface ImagesJsonOptions {
  include?: Included
  /** Fields that stand before all others. */
  envelope?(accepted: Accepted): JsonObject
}

type Accepted = Extract<GenerationEvent, { kind: 'accepted' }>

/**
 * Writes events as the OpenAI Images API answers them. Nothing is sent before the first byte of the first image is there, so that an
 * error until then gets its own status; one that comes later breaks the connection, because a shortened body could pass for a whole one.
 */
export async function writeImagesJson(
  events: AsyncIterable<GenerationEvent>,
  response: ServerResponse,
  record: RequestRecord,
  options: ImagesJsonOptions = {}
): Promise<void> {
  const { include = nothingIncluded, envelope } = options
  const warnings: Warning[] = []
  const missing: Extract<GenerationEvent, { kind: 'no_image' }>[] = []
  let pending = ''
  let itemOpen = false
  let items = 0
  const writeImage = async (image: ImageBody) => {
    await writeBody(image, 'base64', `${pending}{"b64_json":"`, response, record)
    pending = '"'
  }
  await forEachEvent(events, (event) => {
    switch (event.kind) {
      case 'accepted':
        record.accept(event)
        setServedBy(response, event)
        warnings.push(...event.warnings)
        pending = `${JSON.stringify({ ...envelope?.(event), created: event.createdAt }).slice(0, -1)},"data":[`
        break
      case 'image':
        pending += `${itemOpen ? '}' : ''}${items === 0 ? '' : ','}`
        itemOpen = true
        items += 1
        if (isImageBody(event.image)) return writeImage(event.image)
        pending += `{"url":${JSON.stringify(event.image.url)}`
        break
      case 'image_details': {
        const fields = { ...event.providerFields, ...(event.revisedPrompt === undefined ? {} : { revised_prompt: event.revisedPrompt }) }
        if (itemOpen && Object.keys(fields).length > 0) pending += `,${JSON.stringify(fields).slice(1, -1)}`
        break
      }
      case 'no_image':
        missing.push(event)
        break
      case 'completed': {
        warnings.push(...(event.warnings ?? []))
        // What became known only after the headers were sent is told in any case.
        const isLate = response.headersSent && event.warnings !== undefined && event.warnings.length > 0
        const included = isLate ? { ...include, warnings: true } : include
        const fields = { ...encodeCompleted(event, missing), ...encodeIncluded(included, event.cost, warnings) }
        const rest = JSON.stringify(fields).slice(1, -1)
        pending += `${itemOpen ? '}' : ''}]${rest === '' ? '' : `,${rest}`}}`
        if (!response.headersSent) {
          setCost(response, event.cost)
          setWarnings(response, warnings)
        }
      }
    }
    return undefined
  })
  finish(response, pending, 'application/json', record)
}

/** Writes the one image of a request as the response body itself. */
export async function writeRawImage(
  events: AsyncIterable<GenerationEvent>,
  response: ServerResponse,
  record: RequestRecord
): Promise<void> {
  for await (const event of events) {
    if (event.kind === 'accepted') {
      record.accept(event)
      setServedBy(response, event)
    } else if (event.kind === 'image' && isImageBody(event.image)) {
      await writeBody(event.image, 'bytes', '', response, record)
    } else if (event.kind === 'no_image') {
      throw gatewayError('PROVIDER_FAILED', { provider: record.provider, problem: event.message }, { outcome: 'unknown' })
    }
  }
  response.end()
}

/** Sends `before` and then the image, chunk by chunk, no faster than the client reads. */
async function writeBody(
  image: ImageBody,
  as: 'base64' | 'bytes',
  before: string,
  response: ServerResponse,
  record: RequestRecord
): Promise<void> {
  const chunks = image.read(as)[Symbol.asyncIterator]()
  try {
    const next = await chunks.next()
    if (next.done)
      throw gatewayError('OUTCOME_UNKNOWN', { provider: record.provider, problem: 'the image is empty' }, { outcome: 'unknown' })
    if (!response.headersSent) {
      const mediaType = as === 'base64' ? 'application/json' : (sniffMediaType(next.value) ?? image.mediaType)
      response.setHeader('content-type', mediaType === '' ? 'application/octet-stream' : mediaType)
      response.writeHead(200)
    }
    if (before !== '') response.write(before, 'utf8')
    await sendChunks({ first: next, rest: chunks, areGivenAway: image.givesChunksAway === true }, response, record)
  } finally {
    await chunks.return?.()
  }
}

function finish(response: ServerResponse, text: string, contentType: string, record: RequestRecord): void {
  if (response.headersSent) {
    response.end(text)
    return
  }
  const sizeBytes = Buffer.byteLength(text)
  record.bytes += sizeBytes
  response.setHeader('content-type', contentType)
  response.setHeader('content-length', sizeBytes)
  response.writeHead(200)
  // Text goes out in one piece with the headers.
  response.end(text)
}

/** Says on the answer, and on an error in its place, which task this is, who serves it and what became of its parameters. */
export function setServedBy(response: ServerResponse, { taskId, isReplay, provider, model, warnings }: Accepted): void {
  // A stream that had to be kept alive has its headers behind it.
  if (response.headersSent) return
  if (taskId !== '') response.setHeader('x-atelier-task-id', taskId)
  if (isReplay) response.setHeader('x-atelier-replayed', 'true')
  response.setHeader('x-atelier-provider', provider)
  setPortkeyProvider(response, provider)
  response.setHeader('x-atelier-model', headerText(model))
  setWarnings(response, warnings)
}

function setWarnings(response: ServerResponse, warnings: readonly Warning[]): void {
  if (warnings.length > 0) response.setHeader('x-atelier-warnings', encodeWarnings(warnings))
}

/** `param=kind` pairs and their sentences, e.g. `style=ignored; message="gpt-image-2 has no styles"`; what is beyond 4 KiB is left out. */
export function encodeWarnings(warnings: readonly Warning[]): string {
  return warnings
    .map(
      ({ kind, param, message }) =>
        `${headerText(param)}=${wireName(WarningKindSchema, kind)}; message="${headerText(message).replaceAll('"', "'")}"`
    )
    .reduce((list, entry) => (list.length + entry.length > 4096 ? list : `${list}${list === '' ? '' : ', '}${entry}`), '')
}

/** Micro-USD that the provider takes, where they are known. */
export function setCost(response: ServerResponse, cost: Cost | undefined): void {
  if (cost?.totalMicros !== undefined) response.setHeader('x-atelier-cost', `${cost.totalMicros}`)
}

function headerText(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}
