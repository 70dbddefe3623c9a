import { create } from '@bufbuild/protobuf'
import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import { type StoredImage, StoredImageSchema, type StoredRequest, StoredResultSchema } from '../../gen/atelier/v1/stored_pb.ts'
import type { GatewayError } from '../errors.ts'
import { interrupted } from './begin-attempt.ts'
import { credentialKind } from './credential-kind.ts'
import { mergeEndings } from './merge-endings.ts'
import { toStoredError } from './store/stored-error.ts'
import { endingOf } from './stored-ending.ts'
import type { ClaimedTask, TaskJournal } from './task-store.ts'

/**
 * Ends a task that cannot be gone on with: with the images that were made of it, else as interrupted where it may have been billed, else
 * with the error for which it cannot be gone on with.
 */
export async function endWithoutPlan(
  { row, request, attempts }: ClaimedTask,
  error: GatewayError,
  openJournal: () => TaskJournal,
  keepSeconds: number
): Promise<void> {
  await using journal = openJournal()
  const isOpen = (state: string) => state === 'intended' || state === 'submitted'
  for (const { id, state } of attempts) if (isOpen(state)) await journal.close(id, { outcome: 'unknown' })
  const isUnknown = attempts.some(({ state }) => isOpen(state) || state === 'unknown')
  const results = attempts.flatMap(({ result }) => (result ? [result] : []))
  const { provider, model } = row
  const told = isUnknown ? interrupted(provider) : error
  const images = results.flatMap((result) => result.images)
  if (images.some(({ outcome }) => outcome === ImageOutcome.DELIVERED)) {
    const { kind: _, warnings = [], ...ending } = mergeEndings(results.map(endingOf), { isWhole: !isUnknown })
    const asLinks = results.some((result) => result.asLinks)
    const whole = withMissing(images, imagesAskedFor(request), told.message)
    const made = attempts.filter(({ state }) => state === 'succeeded')
    const credentials = [...new Set(made.map(({ credential }) => credentialKind(credential.kind)))]
    const known = { provider, model, images: whole, asLinks, warnings: [...warnings], credentials }
    const result = Object.assign(create(StoredResultSchema, known), ending)
    await journal.finish({ state: 'succeeded', result, consumesRequestId: true, keepSeconds })
    return
  }
  const result = create(StoredResultSchema, { provider, model, error: toStoredError(told) })
  await journal.finish({ state: isUnknown ? 'interrupted' : 'failed', result, consumesRequestId: isUnknown, keepSeconds })
}

function imagesAskedFor({ operation }: StoredRequest): number {
  return (operation.case === 'generation' ? operation.value.n : operation.value?.parameters?.n) ?? 1
}

function withMissing(images: readonly StoredImage[], count: number, message: string): StoredImage[] {
  const places = new Set(images.map(({ index }) => index))
  const missing = Array.from({ length: count }, (_, index) => index).filter((index) => !places.has(index))
  const whole = [...images, ...missing.map((index) => create(StoredImageSchema, { index, outcome: ImageOutcome.FAILED, message }))]
  return whole.sort((one, other) => one.index - other.index)
}
