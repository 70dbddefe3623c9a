import type { IncomingHttpHeaders } from 'node:http'
import type { DescEnum, EnumShape } from '@bufbuild/protobuf'
import { OutputFormat } from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequest, OnDisconnectSchema, OnInterruptSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { enumValue, wireNames } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import { parseUsd } from '../ledger/usd.ts'

/** Our own options on REST: `x-atelier-strict`, `-on-interrupt`, `-on-disconnect`, `-max-cost` and `Idempotency-Key`. */
export function applyHeaders(message: GenerateImagesRequest, headers: IncomingHttpHeaders): void {
  message.strict = readSwitch(headers, 'x-atelier-strict')
  message.onInterrupt = readChoice(headers, 'x-atelier-on-interrupt', OnInterruptSchema) ?? message.onInterrupt
  message.onDisconnect = readChoice(headers, 'x-atelier-on-disconnect', OnDisconnectSchema) ?? message.onDisconnect
  const maxCostMicros = readUsd(headers, 'x-atelier-max-cost')
  if (maxCostMicros !== undefined) message.maxCostMicros = maxCostMicros
  const key = headers['idempotency-key']
  // The header's draft standard has a quoted string; clients send it bare.
  if (typeof key === 'string') message.requestId = key.replace(/^"(.*)"$/, '$1')
}

/** Whether the client says that it sends this request again: OpenAI's SDKs and gRPC's retry policies count their attempts. */
export function isRepetition(headers: IncomingHttpHeaders): boolean {
  return Number(headers['x-stainless-retry-count'] ?? headers['grpc-previous-rpc-attempts'] ?? 0) >= 1
}

/** Whether the caller asks for a task instead of waiting (RFC 7240, `Prefer: respond-async`). */
export function prefersAsync(headers: IncomingHttpHeaders): boolean {
  if (headers.prefer === undefined) return false
  return String(headers.prefer)
    .replace(/"[^"]*"/g, '')
    .split(',')
    .some((preference) => /^\s*respond-async\s*(?:;|$)/i.test(preference))
}

/** What of ours the caller wants in the body, under the key `atelier`. */
export interface Included {
  cost: boolean
  warnings: boolean
}

export const nothingIncluded: Included = { cost: false, warnings: false }

/** Reads `x-atelier-include`, a list of `cost` and `warnings`. Refuses words that it does not know. */
export function readIncluded(headers: IncomingHttpHeaders): Included {
  const written = headers['x-atelier-include']
  if (written === undefined) return nothingIncluded
  const words = String(written)
    .split(',')
    .map((word) => word.trim().toLowerCase())
    .filter((word) => word !== '')
  const strangers = words.filter((word) => !Object.hasOwn(nothingIncluded, word))
  if (strangers.length > 0) {
    const problem = `must be a list of ${Object.keys(nothingIncluded).join(' and ')}, not "${strangers.join(', ').slice(0, 80)}"`
    throw gatewayError('INVALID_PARAMETER', { param: 'x-atelier-include', problem })
  }
  return { cost: words.includes('cost'), warnings: words.includes('warnings') }
}

/**
 * Whether the caller wants the image itself as the answer (`Accept: image/*`). A single named type also chooses the format, where the
 * body does not.
 */
export function applyAccept(message: GenerateImagesRequest, accept: string | undefined): boolean {
  if (accept === undefined || !/^\s*image\//i.test(accept)) return false
  if ((message.n ?? 1) !== 1) {
    throw gatewayError('INVALID_PARAMETER', { param: 'n', problem: `must be 1 when Accept asks for an image, not ${message.n}` })
  }
  const format = imageFormats[accept.trim().toLowerCase()]
  if (format !== undefined && !message.outputFormat) message.outputFormat = format
  return true
}

const imageFormats: Readonly<Record<string, OutputFormat>> = {
  'image/png': OutputFormat.PNG,
  'image/jpeg': OutputFormat.JPEG,
  'image/webp': OutputFormat.WEBP
}

/** Partial images need a streamed answer to travel in. */
export function requireStream(partialImages: number | undefined): void {
  if (partialImages)
    throw gatewayError('INVALID_PARAMETER', { param: 'partial_images', problem: 'must be 0 unless the answer is streamed' })
}

/** When the caller stops waiting: OpenAI's SDKs say so in whole seconds. Infinity where they do not. */
export function restDeadlineMs(headers: IncomingHttpHeaders): number {
  const seconds = Number(headers['x-stainless-timeout'] ?? Number.NaN)
  return seconds > 0 ? Date.now() + seconds * 1000 : Number.POSITIVE_INFINITY
}

function readSwitch(headers: IncomingHttpHeaders, name: string): boolean {
  const value = headers[name]
  if (value === undefined || value === 'false') return false
  if (value === 'true') return true
  throw gatewayError('INVALID_PARAMETER', { param: name, problem: `must be true or false, not "${String(value).slice(0, 40)}"` })
}

function readUsd(headers: IncomingHttpHeaders, name: string): bigint | undefined {
  const text = headers[name]
  if (text === undefined) return undefined
  const micros = parseUsd(String(text))
  if (micros !== undefined) return BigInt(micros)
  const problem = `must be an amount in USD with at most six decimals, such as 0.25, not "${String(text).slice(0, 40)}"`
  throw gatewayError('INVALID_PARAMETER', { param: name, problem })
}

function readChoice<Desc extends DescEnum>(headers: IncomingHttpHeaders, name: string, type: Desc): EnumShape<Desc> | undefined {
  const text = headers[name]
  if (text === undefined) return undefined
  const value = enumValue(type, String(text))
  if (value !== undefined) return value
  throw gatewayError('INVALID_PARAMETER', {
    param: name,
    problem: `must be ${wireNames(type).join(' or ')}, not "${String(text).slice(0, 40)}"`
  })
}
