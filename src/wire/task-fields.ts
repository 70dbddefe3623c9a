import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { gatewayError } from '../errors.ts'

/** What the body of a request for images says about its task; empty where it says nothing. */
export interface TaskFields {
  callbackUrl: string
  traceId: string
  /** The body without these fields. */
  rest: JsonValue
}

/** Takes `callback_url` and `trace_id` out of a body. Throws INVALID_PARAMETER where they are no strings, or a trace id that cannot be kept. */
export function takeTaskFields(body: JsonValue): TaskFields {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return { callbackUrl: '', traceId: '', rest: body }
  if (!('callback_url' in body) && !('trace_id' in body)) return { callbackUrl: '', traceId: '', rest: body }
  const { callback_url = null, trace_id = null, ...rest } = body satisfies JsonObject
  return {
    traceId: checkTraceId(stringIn(trace_id, 'trace_id')),
    callbackUrl: stringIn(callback_url, 'callback_url'),
    rest
  }
}

/** A name of the caller's own. Throws INVALID_PARAMETER where it is too long, or no text: databases take neither NUL nor half a character. */
export function checkTraceId(text: string, param = 'trace_id'): string {
  const refuse = (problem: string) => gatewayError('INVALID_PARAMETER', { param, problem })
  if (Array.from(text).length > maxTraceId) throw refuse(`must be no longer than ${maxTraceId} characters`)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (!text.isWellFormed() || /[\x00-\x1f\x7f]/.test(text)) throw refuse('must be text without control characters')
  return text
}

/** An id that a task may have; empty is left to the contract's rules. Throws TASK_NOT_FOUND. */
export function checkTaskId(id: string): string {
  if (/^[\w-]{0,64}$/.test(id)) return id
  throw gatewayError('TASK_NOT_FOUND', {})
}

/** An id that an image may have; empty is left to the contract's rules. Throws IMAGE_NOT_FOUND. */
export function checkImageId(id: string): string {
  if (/^[0-9A-Za-z]{0,64}$/.test(id)) return id
  throw gatewayError('IMAGE_NOT_FOUND', {})
}

const maxTraceId = 255

function stringIn(value: JsonValue, param: string): string {
  if (value === null) return ''
  if (typeof value === 'string') return value
  throw gatewayError('INVALID_PARAMETER', { param, problem: 'must be a string' })
}
