import { create } from '@bufbuild/protobuf'
import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import { type StoredImage, StoredResultSchema } from '../../gen/atelier/v1/stored_pb.ts'
import { type Call, ownerOf } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { GenerationEvent, ImageLink } from '../events.ts'
import type { ImageBody } from '../images/image-body.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import type { Links } from '../storage/links.ts'
import { readCredentialKind } from './credential-kind.ts'
import { toGatewayErrorAgain } from './store/stored-error.ts'
import { endingOf } from './stored-ending.ts'
import type { KeptTask, TaskStore } from './task-store.ts'

export interface ReplayDeps {
  store: TaskStore
  blobs: BlobStore
  links: Links
}

/**
 * What a task yielded to its first caller, read again when the task is final; links are signed anew. Throws the error that it ended with,
 * TASK_NOT_FOUND where it has been forgotten, and the reason of the call's signal.
 */
export async function* replay(taskId: string, call: Call, deps: ReplayDeps): AsyncGenerator<GenerationEvent, void, undefined> {
  const kept = await deps.store.waitFor(taskId, call.caller.organizationId, { signal: call.signal })
  call.signal.throwIfAborted()
  if (!kept) throw gatewayError('TASK_NOT_FOUND', {}, { outcome: 'not_sent' })
  const credentials = kept.result?.credentials ?? []
  if (credentials.length > 0) call.calledWith?.(credentials.map(readCredentialKind))
  yield* replayEvents(kept, ownerOf(call.caller), deps)
}

async function* replayEvents(kept: KeptTask, owner: string, deps: ReplayDeps): AsyncGenerator<GenerationEvent, void, undefined> {
  const result = kept.result ?? create(StoredResultSchema)
  const { provider, model, acceptedWarnings: warnings } = result
  const createdAt = Math.floor(kept.createdAtMs / 1000)
  yield { kind: 'accepted', taskId: kept.task.id, createdAt, isReplay: true, provider, model, warnings }
  if (result.error) throw toGatewayErrorAgain(result.error)
  for (const stored of result.images) {
    const { index, outcome, message, revisedPrompt, providerFields } = stored
    if (outcome !== ImageOutcome.DELIVERED) {
      yield { kind: 'no_image', index, outcome, message }
      continue
    }
    const image = await openStored(stored, result.asLinks, owner, deps)
    if (!image) {
      yield { kind: 'no_image', index, outcome: ImageOutcome.FAILED, message: 'the image was made and could not be kept' }
      continue
    }
    yield { kind: 'image', index, image }
    if (revisedPrompt === undefined && !providerFields) continue
    yield {
      kind: 'image_details',
      index,
      ...(revisedPrompt !== undefined && { revisedPrompt }),
      ...(providerFields && { providerFields })
    }
  }
  yield endingOf(result)
}

async function openStored(
  { source, mediaType }: StoredImage,
  asLinks: boolean,
  owner: string,
  { blobs, links }: ReplayDeps
): Promise<ImageBody | ImageLink | undefined> {
  if (source.case === 'url') return { url: source.value, mediaType }
  const blob = source.case === 'imageId' ? await blobs.open(source.value) : undefined
  if (blob?.organizationId !== owner) return undefined
  if (!asLinks) return blob.open()
  return { url: blob.isPublic ? links.permanent(blob) : links.sign(blob), mediaType, imageId: blob.id }
}
