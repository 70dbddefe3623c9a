import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { StoredInput } from '../../gen/atelier/v1/stored_pb.ts'
import { type Call, ownerOf } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { InputImage } from '../providers/provider.ts'
import type { BlobStore, IncomingBlob, PendingBlob } from '../storage/blob-store.ts'
import type { PlannedRun } from '../tasks/run-order.ts'
import type { TaskRunner } from '../tasks/runner.ts'
import { newTaskId } from '../tasks/task-store.ts'
import { asEdit, type EditOrder, type PlanEdit, type PlannedEdit, storedEdit, storedRequest } from './plan-edit-run.ts'
import type { PlanRunWays } from './plan-run.ts'
import type { InputSource } from './take-inputs.ts'
import type { TaskOrder } from './task-order.ts'

export interface CreateTaskDeps {
  planGeneration(request: GenerateImagesRequest, ways: PlanRunWays, call: Call): PlannedRun
  planEdit: PlanEdit
  runner: TaskRunner
  blobs: BlobStore
  /** Throws INVALID_PARAMETER for a URL that could never be called. */
  checkCallbackUrl(url: string): void
}

/**
 * Accepts a request to run in the background and returns the id of its task. What a synchronous call would be refused with before anything
 * is sent, this is refused with too. The uploads of the order stay the caller's to dispose of: what the task needs is stored.
 */
export function createCreateTask(deps: CreateTaskDeps) {
  return async (order: TaskOrder, call: Call): Promise<string> => {
    const { operation, callbackUrl, traceId, permanentLinks } = order
    if (callbackUrl !== '') deps.checkCallbackUrl(callbackUrl)
    const ways = { permanentLinks, hostsAll: true }
    const id = newTaskId()
    if (operation.kind === 'generation') {
      const planned = deps.planGeneration(operation.request, ways, call)
      const stored = storedRequest({ case: 'generation', value: operation.request }, permanentLinks, callbackUrl)
      return deps.runner.submit({ ...planned, stored, traceId, isRepetition: false }, { id, recognisedBy: stored, blobs: [] }, call)
    }
    const isEdit = operation.kind === 'edit'
    const edit = isEdit ? operation.order : asEdit(operation.order)
    const planned = isEdit
      ? await deps.planEdit.edit(operation.order, ways, call)
      : await deps.planEdit.variation(operation.order, ways, call)
    await using cleanup = new AsyncDisposableStack()
    cleanup.use(planned)
    const { blobs, inputOf, discard } = await keepInputs(edit, planned, id, call)
    const record = (inputs?: typeof inputOf) => {
      const value = storedEdit(edit, inputs)
      return storedRequest(isEdit ? { case: 'edit', value } : { case: 'variation', value }, permanentLinks, callbackUrl)
    }
    cleanup.move()
    const kept = { id, recognisedBy: record(), blobs }
    const taskId = await deps.runner
      .submit({ ...planned, stored: record(inputOf), traceId, isRepetition: false }, kept, call)
      .catch(async (error: unknown) => {
        await discard()
        throw error
      })
    // The same order came before: its inputs are kept already.
    if (taskId !== id) await discard()
    return taskId
  }

  /** Stores every input, to be forgotten with the task: where it came from may not have it any more when the task is carried out. */
  async function keepInputs(edit: EditOrder, { inputs }: PlannedEdit, taskId: string, call: Call) {
    const blobs: PendingBlob[] = []
    const taken: IncomingBlob[] = []
    const discard = async () => void (await Promise.all(taken.map((incoming) => incoming.discard())))
    const found = new Map<InputSource, StoredInput['source']>()
    const keep = async (source: InputSource, image: InputImage | undefined) => {
      if (!image) throw gatewayError('MISSING_PARAMETER', { param: source.param })
      const meta = { organizationId: ownerOf(call.caller), lifetimeSeconds: Number.POSITIVE_INFINITY, taskId }
      const incoming = deps.blobs.take(image.open(), meta)
      taken.push(incoming)
      const pending = await incoming.stored
      blobs.push(pending)
      found.set(source, { case: 'imageId', value: pending.blob.id })
    }
    try {
      for (const [index, source] of edit.images.entries()) await keep(source, inputs.images[index])
      if (edit.mask) await keep(edit.mask, inputs.mask)
    } catch (error) {
      await discard()
      throw error
    }
    return { blobs, discard, inputOf: (source: InputSource): StoredInput['source'] => found.get(source) ?? { case: undefined } }
  }
}
