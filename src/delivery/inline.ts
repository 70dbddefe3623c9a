import { setTimeout } from 'node:timers/promises'
import type { Call } from '../call.ts'
import { type GatewayError, gatewayError } from '../errors.ts'
import { type ImageBody, imageFromBytes } from '../images/image-body.ts'
import { withSniffedMediaType } from '../images/sniffed-image.ts'
import { type UntrustedResponse, UntrustedUrlError, type UntrustedUrlFetcher } from '../upstream/untrusted-url.ts'
import { abortError } from './aborted.ts'

export interface InlineSource {
  /** Name of the provider that gave the URL, for errors. */
  provider: string
  /** Its own origins: their URLs may be private. */
  trustedOrigins: readonly string[]
}

/** An image whose source is open; disposing it closes the source where it was not read to its end. */
export interface InlineImage extends ImageBody, AsyncDisposable {}

/**
 * The image behind a URL that a provider gave, `data:` or fetched, with the media type that its first bytes show. The image was made and
 * paid, so a fetch that fails without an answer is tried again, and every failure, also while the image is read, has the outcome `unknown`:
 * PROVIDER_FAILED, CANCELLED, or the reason of the call's signal.
 */
export async function openInline(
  url: string,
  source: InlineSource,
  call: Call,
  deps: { fetcher: UntrustedUrlFetcher }
): Promise<InlineImage> {
  const opened = /^data:/i.test(url) ? decodeDataUrl(url, source.provider) : await fetchImage(url, source, call, deps.fetcher)
  const image = await withSniffedMediaType(opened)
  const chunks = image.read(image.form)
  const close = async () => void (await chunks[Symbol.asyncIterator]().return?.())
  if (image.mediaType !== '') return { ...imageFromBytes(chunks, image.mediaType), [Symbol.asyncDispose]: close }
  await close()
  const named = /^[\w.+-]+\/[\w.+-]+$/.test(opened.mediaType) ? ` but ${opened.mediaType.slice(0, 100)}` : ''
  throw failed(source.provider, `what its url leads to is no image${named}`)
}

const retryDelaysMs = [250, 1000]

async function fetchImage(
  url: string,
  { provider, trustedOrigins }: InlineSource,
  call: Call,
  fetcher: UntrustedUrlFetcher
): Promise<ImageBody> {
  const thrown = (error: unknown) => {
    throw toFailure(error, provider, call.signal)
  }
  const { body, mediaType } = await fetchPatiently(
    () => fetcher.fetch(url, { signal: call.signal, trustedOrigins, accept: 'image/*' }),
    call.signal
  ).catch(thrown)
  return imageFromBytes(mapErrors(body, thrown), mediaType)
}

/** Providers answer before their delivery network has the image everywhere. */
async function fetchPatiently(attempt: () => Promise<UntrustedResponse>, signal: AbortSignal): Promise<UntrustedResponse> {
  for (const delayMs of retryDelaysMs) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof UntrustedUrlError) || error.kind !== 'failed') throw error
      await setTimeout(delayMs, undefined, { signal })
    }
  }
  return attempt()
}

/** Written out because a generator would add a step to every chunk. */
function mapErrors(source: AsyncIterable<Uint8Array>, thrown: (error: unknown) => never): AsyncIterable<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]()
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => chunks.next().catch(thrown),
      return: async () => (await chunks.return?.()) ?? { done: true, value: undefined }
    })
  }
}

function toFailure(error: unknown, provider: string, signal: AbortSignal): unknown {
  if (signal.aborted) return abortError(signal)
  return error instanceof UntrustedUrlError ? failed(provider, `its image could not be fetched: ${error.message}`, error) : error
}

function decodeDataUrl(url: string, provider: string): ImageBody {
  const comma = url.indexOf(',')
  const [mediaType = '', ...parameters] = url.slice('data:'.length, comma).split(';')
  const text = percentDecode(url.slice(comma + 1))
  const isBase64 = parameters.some((parameter) => parameter.trim().toLowerCase() === 'base64')
  const bytes = isBase64 ? decodeBase64Text(text) : text
  if (comma < 0 || bytes === undefined) throw failed(provider, 'the data: url that it gave cannot be decoded')
  return imageFromBytes(bytes, mediaType.trim().toLowerCase())
}

/** Undefined for a broken escape. */
function percentDecode(text: string): Buffer | undefined {
  if (!text.includes('%')) return Buffer.from(text)
  if (/%(?![0-9a-f]{2})/i.test(text)) return undefined
  return Buffer.from(
    Buffer.from(text)
      .toString('latin1')
      .replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1'
  )
}

function decodeBase64Text(text: Buffer | undefined): Buffer | undefined {
  const chars = text?.toString('latin1').replace(/\s+/g, '')
  return chars !== undefined && /^[A-Za-z0-9+/]*={0,2}$/.test(chars) && chars.length % 4 !== 1 ? Buffer.from(chars, 'base64') : undefined
}

function failed(provider: string, problem: string, cause?: unknown): GatewayError {
  return gatewayError('PROVIDER_FAILED', { provider, problem }, { outcome: 'unknown', cause })
}
