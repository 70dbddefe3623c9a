import type { Call } from '../call.ts'
import { GatewayError, gatewayError } from '../errors.ts'
import { isAnimated } from '../images/animation.ts'
import { hasContentCredentials } from '../images/content-credentials.ts'
import { readDimensions } from '../images/dimensions.ts'
import { type ImageBody, imageFromBase64, imageFromBytes } from '../images/image-body.ts'
import { sniffMediaType } from '../images/media-type.ts'
import { peekImage } from '../images/peek-image.ts'
import { createTurnstile } from '../images/turnstile.ts'
import type { WishedOutput } from '../routing/plan.ts'
import type { ScratchFile, ScratchFiles } from '../storage/scratch-files.ts'
import { abortError, unlessAborted } from './aborted.ts'
import { type FoundImage, formatOf, hindranceOf, isEmptyWish, maxPixels, outputChanges, wishedFormat } from './output-changes.ts'
import { createOutputReport, type OutputReport } from './output-report.ts'
import { readSize, reencode, timeoutSeconds } from './reencode.ts'

/** Brings images to a format, compression and size that the provider was not asked for. Disposing it waits for conversions that still run. */
export interface Transcoder extends AsyncDisposable {
  /** For the images of one request; undefined where nothing is wished, so that nothing is done. */
  begin(wish: WishedOutput | undefined, provider: string, call: Call): Transcoding | undefined
}

export interface Transcoding {
  /**
   * The image as it is wished. What is so already, as its header shows, is passed on byte by byte, and so is, with a warning, what is no
   * still PNG, JPEG or WebP. Everything else is converted when it is read. Throws, at once or then, PROVIDER_FAILED and STORAGE_FAILED with
   * the outcome `unknown`, the reason of the call's signal or CANCELLED, besides what the image throws.
   */
  bring(image: ImageBody): Promise<BroughtImage>
  /** Notes an image that could not be brought to the wish, because only the provider's link to it is there. */
  missed(): void
  /** The `completed` event with what was found out about the images. */
  complete: OutputReport['complete']
}

/** An image whose source is open; disposing it closes the source where it was not read to its end. */
export interface BroughtImage extends ImageBody, AsyncDisposable {
  readonly isUntouched: boolean
}

export interface TranscoderOptions {
  /** Most images converted at a time: each takes 15 bytes, as WebP 35, for each of its pixels. The others wait on the disk. */
  maxConcurrent: number
}

/** The largest file that is converted; the same limit as for files behind links. */
const maxFileBytes = 64 * 1024 * 1024

/** Holds the header of nearly every image, with the metadata that may stand before its size. */
const headBytes = 1024 * 1024

export function createTranscoder({ maxConcurrent }: TranscoderOptions, deps: { scratch: ScratchFiles }): Transcoder {
  const turnstile = createTurnstile(maxConcurrent)
  const releases = new Set<Promise<void>>()

  return {
    begin(wish, provider, call) {
      if (wish === undefined || isEmptyWish(wish)) return undefined
      const job = { wish, provider, call, report: createOutputReport(provider) }
      return {
        bring: (image) => bring(image, job),
        missed: () => job.report.leftAlone(nothingFound, outputChanges(nothingFound, wish), 'it could not be stored here'),
        complete: job.report.complete
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(releases)
    }
  }

  async function bring(image: ImageBody, job: Job): Promise<BroughtImage> {
    const { wish, provider, report } = job
    const peeked = await peekImage(image, headBytes, tellsAll)
    const close = async () => void (await peeked.chunks.return())
    const from = image.form === 'bytes' ? imageFromBytes : imageFromBase64
    const found = examine(peeked.head)
    const source = from(peeked.chunks, found.mediaType ?? image.mediaType)
    const untouched = { ...source, isUntouched: true, [Symbol.asyncDispose]: close }

    const changes = outputChanges(found, wish)
    if (changes.length === 0) {
      report.untouched(found)
      return untouched
    }
    const hindrance = hindranceOf(found, wish)
    if (hindrance !== undefined || !found.format) {
      report.leftAlone(found, changes, hindrance ?? '')
      return untouched
    }
    if (found.size && found.size.width * found.size.height > maxPixels) {
      await close()
      throw failed(
        provider,
        `its image of ${found.size.width}x${found.size.height} has more than the ${maxPixels} pixels that are converted`
      )
    }
    const converted = imageFromBytes(convert(source, found, job), `image/${wishedFormat(wish) ?? found.format}`)
    return { ...converted, isUntouched: false, [Symbol.asyncDispose]: close }
  }

  /** The image goes through files: decoders need it whole, and neither waiting nor slow readers may fill the memory. */
  async function* convert(source: ImageBody, found: FoundImage, job: Job): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal } = job.call
    const files = new AsyncDisposableStack()
    let work: Promise<ScratchFile> | undefined
    try {
      const input = files.use(await deps.scratch.create())
      const output = files.use(await deps.scratch.create())
      await input.append(untilAborted(source.read('bytes'), signal), maxFileBytes)
      work = turnstile.pass(() => convertFile(input, output, found, job), signal)
      yield* (await unlessAborted(work, signal)).chunks()
    } catch (error) {
      throw toFailure(error, job)
    } finally {
      const release = releaseAfter(work, files, job.call)
      // A conversion cannot be stopped; whoever has gone away does not wait for its end.
      if (!signal.aborted) await release
    }
  }

  function releaseAfter(work: Promise<unknown> | undefined, files: AsyncDisposableStack, call: Call): Promise<void> {
    const release = Promise.allSettled([work])
      .then(() => files.disposeAsync())
      .catch((err: unknown) => call.log.warn({ err }, 'a scratch file could not be removed'))
      .finally(() => releases.delete(release))
    releases.add(release)
    return release
  }
}

interface Job {
  wish: WishedOutput
  provider: string
  call: Call
  report: OutputReport
}

const nothingFound: FoundImage = { mediaType: undefined, format: undefined, size: undefined }

function tellsAll(head: Buffer): boolean {
  const mediaType = sniffMediaType(head)
  if (!formatOf(mediaType)) return mediaType !== undefined || head.length >= 4096
  const animated = isAnimated(head)
  return animated === true || (animated === false && readDimensions(head) !== undefined)
}

function examine(head: Buffer): FoundImage {
  const mediaType = sniffMediaType(head)
  return { mediaType, format: isAnimated(head) ? undefined : formatOf(mediaType), size: readDimensions(head) }
}

/** Converts one file into another; returns the one that holds the wished image. */
async function convertFile(input: ScratchFile, output: ScratchFile, header: FoundImage, job: Job): Promise<ScratchFile> {
  const { wish, provider, report } = job
  const { format, mediaType } = header
  const to = wishedFormat(wish) ?? format
  if (!format || !to || !mediaType) return input
  try {
    const from = { ...header, size: header.size ?? (await readSize(input.path)) }
    const changes = outputChanges(from, wish)
    if (changes.length === 0) {
      report.untouched(from)
      return input
    }
    const result = await reencode(input.path, output.path, { from: format, to, quality: wish.compression ?? 100, size: wish.size })
    const lostCredentials = await hasContentCredentials(mediaType, input.readAt)
    report.converted({ from, to, changes, lostCredentials, result })
    return output
  } catch (error) {
    throw error instanceof GatewayError ? error : conversionFailed(error, provider, to)
  }
}

/** The decoder's own words name files and stay in the log. */
function conversionFailed(cause: unknown, provider: string, to: string): GatewayError {
  const words = cause instanceof Error ? cause.message : ''
  if (/no space left|quota exceeded/i.test(words)) {
    return gatewayError('STORAGE_FAILED', { problem: 'the disk is full' }, { outcome: 'unknown', cause })
  }
  if (words.startsWith('timeout')) return failed(provider, `its image could not be converted to ${to} in ${timeoutSeconds} seconds`, cause)
  return failed(provider, `its image is broken and cannot be converted to ${to}`, cause)
}

function toFailure(error: unknown, { provider, call }: Job): unknown {
  if (call.signal.aborted) return abortError(call.signal)
  if (error instanceof SyntaxError) return failed(provider, 'its image is not valid base64', error)
  if (error instanceof RangeError) return failed(provider, `its image is larger than the ${maxFileBytes} bytes that are converted`)
  if (error instanceof GatewayError && error.reason === 'STORAGE_FAILED') {
    return gatewayError('STORAGE_FAILED', { problem: error.fields.problem ?? '' }, { outcome: 'unknown', cause: error.cause })
  }
  return error
}

async function* untilAborted(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks) {
    signal.throwIfAborted()
    yield chunk
  }
}

function failed(provider: string, problem: string, cause?: unknown): GatewayError {
  return gatewayError('PROVIDER_FAILED', { provider, problem }, { outcome: 'unknown', cause })
}
