import { type CheckedImage, checkInput, checkMask } from '../admission/check-input.ts'
import { type Call, ownerOf } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import type { StoredImage } from '../images/image-body.ts'
import type { EditInputs } from '../providers/provider.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import type { Upload, Uploads } from '../storage/uploads.ts'
import { UntrustedUrlError, type UntrustedUrlFetcher } from '../upstream/untrusted-url.ts'

/** Where an input image is, and what it is called in the request, for errors: "mask", "images[1].image_url". */
export type InputSource = { param: string } & (
  | { kind: 'upload'; upload: Upload }
  /** An http, https or data URL. */
  | { kind: 'url'; url: string }
  /** Of an image that this server keeps for the caller's organization. */
  | { kind: 'image_id'; imageId: string }
)

export interface TakeInputsDeps {
  uploads: Uploads
  blobs: BlobStore
  fetcher: UntrustedUrlFetcher
}

/**
 * Brings the input images of a request here and checks each. What is fetched is kept in `taken`. Throws INVALID_PARAMETER, naming the part,
 * for what is no sound image, cannot be fetched or is no mask for the first image, and IMAGE_NOT_FOUND for the id of an image that is not
 * there or another organization's.
 */
export async function takeInputs(
  sources: { images: readonly InputSource[]; mask: InputSource | undefined },
  call: Call,
  taken: AsyncDisposableStack,
  deps: TakeInputsDeps
): Promise<Pick<EditInputs, 'images' | 'mask'>> {
  const all = sources.mask ? [...sources.images, sources.mask] : sources.images
  const images: CheckedImage[] = []
  // One after the other: each is read through, and what is read ahead of many files at a time would fill the memory.
  for (const [index, stored] of (await takeAll(all, call, taken, deps)).entries()) {
    call.signal.throwIfAborted()
    images.push(await checkInput(stored, all[index]?.param ?? ''))
  }
  const mask = sources.mask && images.pop()
  const [first] = images
  if (!mask || !first || !sources.mask) return { images }
  checkMask(mask, first, sources.mask.param)
  return { images, mask }
}

/** Takes all at a time. What was begun must have arrived before it is let go of, so all are waited for; the first failure stops the others. */
async function takeAll(
  sources: readonly InputSource[],
  call: Call,
  taken: AsyncDisposableStack,
  deps: TakeInputsDeps
): Promise<StoredImage[]> {
  const stopping = new AbortController()
  const stoppable = { ...call, signal: AbortSignal.any([call.signal, stopping.signal]) }
  const results = await Promise.allSettled(
    sources.map(async (source) => {
      try {
        return await take(source, stoppable, taken, deps)
      } catch (error) {
        stopping.abort(error)
        throw error
      }
    })
  )
  if (stopping.signal.aborted) throw stopping.signal.reason
  return results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
}

async function take(source: InputSource, call: Call, taken: AsyncDisposableStack, deps: TakeInputsDeps): Promise<StoredImage> {
  const { param } = source
  switch (source.kind) {
    case 'upload':
      return source.upload
    case 'url':
      return taken.use(await fetchImage(source.url, param, call, deps))
    case 'image_id': {
      const blob = await deps.blobs.open(source.imageId)
      // Whether another organization has such an image is nobody's business.
      if (blob?.organizationId === ownerOf(call.caller)) return blob
      throw gatewayError('IMAGE_NOT_FOUND', {}, { param, outcome: 'not_sent' })
    }
  }
}

async function fetchImage(url: string, param: string, call: Call, { uploads, fetcher }: TakeInputsDeps): Promise<Upload> {
  const options = { param, callerId: call.caller.organizationId }
  if (/^data:/i.test(url)) return uploads.take(dataOf(url, param), options)
  try {
    const { body } = await fetcher.fetch(url, { signal: call.signal, accept: 'image/png, image/jpeg, image/webp' })
    return await uploads.take(body, options)
  } catch (error) {
    if (!(error instanceof UntrustedUrlError)) throw error
    throw gatewayError('INVALID_PARAMETER', { param, problem: error.message }, { outcome: 'not_sent', cause: error })
  }
}

async function* dataOf(url: string, param: string): AsyncGenerator<Uint8Array, void, undefined> {
  const comma = url.indexOf(',')
  const refuse = (problem: string) => gatewayError('INVALID_PARAMETER', { param, problem }, { outcome: 'not_sent' })
  if (comma === -1 || !/;base64$/i.test(url.slice(0, Math.min(comma, 200)))) throw refuse('the data URL is not in base64')
  try {
    yield Uint8Array.fromBase64(url.slice(comma + 1))
  } catch {
    throw refuse('the data URL is not valid base64')
  }
}

/**
 * Events that dispose of the uploads among their sources when they end, fail or are left, even before the first one was asked for. Written
 * out because a generator that nobody has begun to read never comes to its `finally`.
 */
export function disposingUploads(
  sources: readonly (InputSource | undefined)[],
  events: AsyncIterable<GenerationEvent>
): AsyncIterable<GenerationEvent> {
  const iterator = events[Symbol.asyncIterator]()
  const dispose = () => disposeUploads(sources)
  const disposing: AsyncIterator<GenerationEvent> = {
    async next() {
      try {
        const result = await iterator.next()
        if (result.done) await dispose()
        return result
      } catch (error) {
        await dispose()
        throw error
      }
    },
    async return() {
      try {
        await iterator.return?.()
      } finally {
        await dispose()
      }
      return { done: true, value: undefined }
    }
  }
  return { [Symbol.asyncIterator]: () => disposing }
}

/** Disposes of the uploads among the sources. */
export async function disposeUploads(sources: readonly (InputSource | undefined)[]): Promise<void> {
  await Promise.all(sources.map((source) => (source?.kind === 'upload' ? source.upload[Symbol.asyncDispose]() : undefined)))
}
