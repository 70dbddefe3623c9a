import type { UpstreamHeaders } from './retry-after.ts'

export interface ErrorContext {
  /** Name of the provider in messages. */
  provider: string
  /** Texts that must not reach a caller whatever the provider writes: the credential and configured headers. */
  secrets: readonly string[]
}

/** The first 64 KiB of an error's body; whatever breaks while it is read, the status is already known. */
export async function readHead(body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  try {
    for await (const chunk of body) {
      chunks.push(chunk)
      sizeBytes += chunk.length
      if (sizeBytes >= 65_536) break
    }
  } catch (error) {
    if (signal.aborted) throw error
  }
  return Buffer.concat(chunks).subarray(0, 65_536)
}

/** A provider's sentence that is fit for callers: one line, without keys, at most 500 characters. */
export function scrub(message: string, context: ErrorContext): string {
  const known = context.secrets.filter((secret) => secret.length >= 6).reduce((text, secret) => text.replaceAll(secret, '[key]'), message)
  const line = [
    ...known
      .replace(keyShaped, '[key]')
      .replace(/[\p{Cc}\s]+/gu, ' ')
      .trim()
  ]
  return line.length <= 500 ? line.join('') : `${line.slice(0, 499).join('')}…`
}

/** `sk-…`, Google's `AIza…`, `?key=…`, `Bearer …` with a digit in it, and anything masked with asterisks: OpenAI prints a masked key in its 401, other servers print it whole. */
const keyShaped =
  /\b(?:sk|pk|rk|r8|xai|gsk)[-_][\w.*…-]{5,}(?<!\.)|\bAIza[\w-]{8,}|(?<=[?&]key=)[^\s&"']+|(?<=bearer )(?=\S*\d)\S{8,}|(?<![\w-])[\w-]*\*{3,}[\w*-]*/gi

/** What a redirect means: it is never followed, and shows no more of its target than the origin. */
export function describeRedirect(status: number, headers: UpstreamHeaders): string {
  const location = [headers.location].flat()[0] ?? ''
  const target = URL.canParse(location) ? ` to ${new URL(location).origin}` : ''
  return `it answered with a redirect (${status})${target}, which is not followed: check its base_url`
}
