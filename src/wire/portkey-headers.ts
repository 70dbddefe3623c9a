import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { invalidParameter } from '../errors.ts'
import type { HttpResponse } from './listener.ts'
import { checkTraceId } from './task-fields.ts'

/** What a request asks for in the headers of Portkey's clients. */
export interface PortkeyHeaders {
  /** As it was written, with "@" where it names a stored credential. Unset: none. */
  provider?: string
  /** Name of a stored credential. */
  virtualKey?: string
  /** Base URL to call the provider at. */
  customHost?: string
  /** Empty: none. */
  traceId: string
  /** A JSON object as text. */
  metadata?: string
  /** How long the caller waits. */
  timeoutMs?: number
}

/**
 * Reads them, and our own `x-atelier-metadata`. Those that ask for what Portkey's gateway does besides are refused where an answer without it
 * would be another one than was asked for, and left alone where the answer says what became of them (retries, cache).
 */
export function readPortkeyHeaders(headers: IncomingHttpHeaders): PortkeyHeaders {
  if (!isFromPortkey(headers) && headers['x-atelier-metadata'] === undefined) return nothingAsked
  for (const name in headers) {
    const problem = name.startsWith(prefix) ? refusals.find(({ pattern }) => pattern.test(name.slice(prefix.length)))?.problem : undefined
    if (problem !== undefined && textOf(headers, name) !== undefined) throw invalidParameter(name, `is not supported here: ${problem}`)
  }
  const provider = textOf(headers, 'x-portkey-provider')
  const virtualKey = textOf(headers, 'x-portkey-virtual-key')
  const customHost = textOf(headers, 'x-portkey-custom-host')
  const metadata = readMetadata(headers)
  const timeoutMs = readTimeout(headers)
  return {
    ...(provider !== undefined && { provider }),
    ...(virtualKey !== undefined && { virtualKey: virtualKey.replace(/^@/, '') }),
    ...(customHost !== undefined && { customHost }),
    traceId: checkTraceId(inUtf8(textOf(headers, traceIdHeader) ?? ''), traceIdHeader),
    ...(metadata !== undefined && { metadata }),
    ...(timeoutMs !== undefined && { timeoutMs })
  }
}

/**
 * Says on the answer, whatever it will be, what Portkey's clients look for: the trace id, or the request's own id in its place, the provider
 * as it was asked for, and that nothing was retried, balanced or cached. Does nothing where the request has no header of Portkey's.
 */
export function setPortkeyHeaders(headers: IncomingHttpHeaders, response: HttpResponse, requestId: string): void {
  if (!isFromPortkey(headers)) return
  const res = response as ServerResponse
  const traceId = textOf(headers, traceIdHeader) ?? ''
  const provider = textOf(headers, 'x-portkey-provider') ?? ''
  res.setHeader(traceIdHeader, /^[\x20-\x7e\x80-\xff]{1,255}$/.test(traceId) ? traceId : requestId)
  if (/^@?[\w.-]{1,64}$/.test(provider)) res.setHeader('x-portkey-provider', provider.replace(/^@/, ''))
  res.setHeader('x-portkey-retry-attempt-count', '0')
  res.setHeader('x-portkey-last-used-option-index', '0')
  res.setHeader(cacheHeader, 'DISABLED')
}

/** Puts the provider that serves the request in the place of the one that was asked for, where the answer has Portkey's headers. */
export function setPortkeyProvider(response: ServerResponse, provider: string): void {
  if (response.hasHeader(cacheHeader)) response.setHeader('x-portkey-provider', provider)
}

const nothingAsked: PortkeyHeaders = { traceId: '' }

const traceIdHeader = 'x-portkey-trace-id'
const cacheHeader = 'x-portkey-cache-status'

const prefix = 'x-portkey-'

/** What headers ask for that would make another answer. */
const refusals: readonly { pattern: RegExp; problem: string }[] = [
  {
    pattern: /^(config|default-(input|output)-guardrails)$/,
    problem: 'which providers, fallbacks, checks and limits a request gets, the operator configures'
  },
  { pattern: /^forward-headers$/, problem: 'no header of a request is passed on to a provider' },
  {
    pattern: /^(openai-(organization|project)|(azure|aws|amzn?|vertex|workers-ai|huggingface|fireworks|snowflake|oracle)-.+)$/,
    problem: 'the account at a provider is that of the key, at the address that the operator configured'
  }
]

function isFromPortkey(headers: IncomingHttpHeaders): boolean {
  for (const name in headers) if (name.startsWith(prefix)) return true
  return false
}

/** An empty header counts as none. */
function textOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  const text = (Array.isArray(value) ? value.join(', ') : value)?.trim()
  return text === '' ? undefined : text
}

function readTimeout(headers: IncomingHttpHeaders): number | undefined {
  const name = 'x-portkey-request-timeout'
  const text = textOf(headers, name)
  if (text === undefined) return undefined
  if (/^[1-9]\d{0,9}$/.test(text)) return Number(text)
  throw invalidParameter(name, `must be a time in milliseconds, a whole number from 1 to 9999999999, not "${text.slice(0, 40)}"`)
}

function readMetadata(headers: IncomingHttpHeaders): string | undefined {
  const [name, other] = ['x-atelier-metadata', 'x-portkey-metadata'].filter((each) => textOf(headers, each) !== undefined)
  if (name === undefined) return undefined
  if (other !== undefined) throw invalidParameter(other, `has no place beside ${name}`)
  const text = inUtf8(textOf(headers, name) ?? '')
  if (Buffer.byteLength(text) > maxMetadataBytes) throw invalidParameter(name, `must be at most ${maxMetadataBytes} bytes`)
  const object = parseObject(text)
  if (object === undefined) throw invalidParameter(name, 'must be a JSON object')
  return object
}

const maxMetadataBytes = 2048

/** The object in one spelling; undefined for what is none, or holds text that a database does not take. */
function parseObject(text: string): string | undefined {
  const isStorable = (part: string) => part.isWellFormed() && !part.includes('\0')
  try {
    const value: unknown = JSON.parse(text, (key, part: unknown) => {
      if (isStorable(key) && (typeof part !== 'string' || isStorable(part))) return part
      throw new SyntaxError('the text holds what is no character')
    })
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? JSON.stringify(value) : undefined
  } catch {
    return undefined
  }
}

/** Node reads every byte of a header as a character of Latin-1; clients write UTF-8 there, or nothing beyond ASCII. */
function inUtf8(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what needs no change.
  if (/^[\x00-\x7f]*$/.test(text)) return text
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(text, 'latin1'))
  } catch {
    return text
  }
}
