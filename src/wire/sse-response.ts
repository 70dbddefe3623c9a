import type { ServerResponse } from 'node:http'
import type { JsonObject } from '@bufbuild/protobuf'
import type { Warning } from '../../gen/atelier/v1/image_pb.ts'
import type { GatewayError } from '../errors.ts'
import { type GenerationEvent, isImageBody } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import { toRestError } from './error-response.ts'
import { setServedBy } from './images-response.ts'
import { encodeCompleted, encodeIncluded } from './openai-json.ts'
import type { RequestRecord } from './request-record.ts'
import { sendChunks } from './send-chunks.ts'

export interface SseOptions {
  /** Before the dot in every event's name: `image_generation` or `image_edit`. */
  operation: 'image_generation' | 'image_edit'
  /** What was asked for: size, quality, background and output_format, as partial images repeat them. */
  asked: JsonObject
  /** Longest silence; proxies cut connections that are idle for 60 s. */
  keepAliveMs: number
  /** What a thrown value is to this caller. */
  toError(thrown: unknown): GatewayError
}

/**
 * Writes events as server-sent events, as the OpenAI SDKs read them. Nothing is sent before the first preview, image or keep-alive, so
 * that an early error is thrown and gets its own HTTP status. A later one ends the stream with an `error` object, in the very event that
 * it interrupts and once more in an `error` event of its own, because SDKs look at the object and EventSource at the event.
 */
export async function writeImagesSse(
  events: AsyncIterable<GenerationEvent>,
  response: ServerResponse,
  record: RequestRecord,
  options: SseOptions
): Promise<void> {
  const stream = openStream(response, record, options.keepAliveMs)
  const missing: Extract<GenerationEvent, { kind: 'no_image' }>[] = []
  const warnings: Warning[] = []
  let createdAt = 0
  const head = (event: string, fields: JsonObject) => {
    const type = `${options.operation}.${event}`
    const text = JSON.stringify({ type, created_at: createdAt, ...fields })
    return `event: ${type}\ndata: ${text.slice(0, -1)}`
  }
  try {
    for await (const event of events) {
      switch (event.kind) {
        case 'accepted':
          record.accept(event)
          setServedBy(response, event)
          createdAt = event.createdAt
          warnings.push(...event.warnings)
          break
        case 'preview':
          stream.close({})
          await stream.image(
            head('partial_image', { partial_image_index: event.previewIndex, index: event.index, ...options.asked }),
            event.image
          )
          stream.close({})
          break
        case 'image':
          stream.close(options.asked)
          if (isImageBody(event.image)) await stream.image(head('completed', { index: event.index }), event.image)
          else stream.begin(head('completed', { index: event.index, url: event.image.url }))
          break
        case 'image_details':
          stream.add({ ...event.providerFields, ...(event.revisedPrompt === undefined ? {} : { revised_prompt: event.revisedPrompt }) })
          break
        case 'no_image':
          missing.push(event)
          break
        case 'completed':
          warnings.push(...(event.warnings ?? []))
          stream.close({
            ...options.asked,
            ...encodeCompleted(event, missing),
            ...encodeIncluded(everything, event.cost, warnings, event.credentials)
          })
      }
    }
    response.end()
  } catch (thrown) {
    if (!response.headersSent || response.destroyed) throw thrown
    const error = options.toError(thrown)
    record.fail(error)
    const { error: fields } = JSON.parse(toRestError(error, record.id).body) as { error: JsonObject }
    stream.close({ error: fields })
    stream.begin(`event: error\ndata: ${JSON.stringify({ type: 'error', error: fields }).slice(0, -1)}`)
    stream.close({})
    response.end()
  } finally {
    stream.stop()
  }
}

/** The last event comes too late for headers, so it always tells of cost and warnings. */
const everything = { cost: true, warnings: true }

/** One event at a time, whose JSON object stays open until it is closed, so that fields can follow the image. */
function openStream(response: ServerResponse, record: RequestRecord, keepAliveMs: number) {
  let state: 'between events' | 'in an object' | 'in a string' = 'between events'
  let silentSinceMs = performance.now()
  const send = (text: string) => {
    silentSinceMs = performance.now()
    record.bytes += text.length
    if (!response.headersSent) {
      response.setHeader('content-type', 'text/event-stream; charset=utf-8')
      response.setHeader('cache-control', 'no-cache, no-transform')
      // nginx holds answers back otherwise.
      response.setHeader('x-accel-buffering', 'no')
      response.writeHead(200)
    }
    response.write(text)
  }
  const timer = setInterval(() => {
    if (state === 'between events' && performance.now() - silentSinceMs >= keepAliveMs) send(': keep-alive\n\n')
  }, keepAliveMs / 4)
  timer.unref()

  return {
    /** Begins an event with everything of its object but the closing brace. */
    begin(text: string): void {
      send(text)
      state = 'in an object'
    },
    /** Begins an event that carries an image; nothing is sent before the image's first byte is there. */
    async image(text: string, image: ImageBody): Promise<void> {
      const chunks = image.read('base64')[Symbol.asyncIterator]()
      try {
        const first = await chunks.next()
        send(`${text},"b64_json":"`)
        state = 'in a string'
        await sendChunks({ first, rest: chunks, areGivenAway: image.givesChunksAway === true }, response, record)
        send('"')
        state = 'in an object'
      } finally {
        await chunks.return?.()
      }
    },
    add(fields: JsonObject): void {
      if (state === 'in an object' && Object.keys(fields).length > 0) send(`,${JSON.stringify(fields).slice(1, -1)}`)
    },
    close(fields: JsonObject): void {
      if (state === 'between events') return
      if (state === 'in a string') send('"')
      state = 'in an object'
      this.add(fields)
      send('}\n\n')
      state = 'between events'
    },
    stop(): void {
      clearInterval(timer)
    }
  }
}
