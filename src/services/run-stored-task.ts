import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { StoredEdit, StoredInput } from '../../gen/atelier/v1/stored_pb.ts'
import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { PlannedRun } from '../tasks/run-order.ts'
import type { ClaimedTask } from '../tasks/task-store.ts'
import type { EditOrder, PlanEdit } from './plan-edit-run.ts'
import type { PlanRunWays } from './plan-run.ts'
import type { InputSource } from './take-inputs.ts'

export interface PlanStoredTaskDeps {
  planGeneration(request: GenerateImagesRequest, ways: PlanRunWays, call: Call): PlannedRun
  planEdit: PlanEdit
}

/**
 * Plans a task out of its record, as the configuration is now. Throws what planning it anew throws, and IMAGE_NOT_FOUND where an input was
 * not kept.
 */
export function createPlanStoredTask({ planGeneration, planEdit }: PlanStoredTaskDeps) {
  return async ({ request: { operation, permanentLinks } }: ClaimedTask, call: Call): Promise<PlannedRun> => {
    const ways = { permanentLinks, hostsAll: true }
    switch (operation.case) {
      case 'generation':
        return planGeneration(operation.value, ways, call)
      case 'edit':
        return planEdit.edit(toOrder(operation.value), ways, call)
      case 'variation': {
        const { images, parameters } = toOrder(operation.value)
        const [image] = images
        if (!image) throw gatewayError('MISSING_PARAMETER', { param: 'image' })
        return planEdit.variation({ image, parameters }, ways, call)
      }
      case undefined:
        throw new Error('the stored request has no operation')
    }
  }
}

function toOrder({ parameters, images, mask, inputFidelity }: StoredEdit): EditOrder {
  if (!parameters) throw new Error('the stored edit has no parameters')
  return { parameters, images: images.map(toSource), inputFidelity, ...(mask && { mask: toSource(mask) }) }
}

function toSource({ param, source }: StoredInput): InputSource {
  switch (source.case) {
    case 'imageId':
      return { kind: 'image_id', param, imageId: source.value }
    case 'url':
      return { kind: 'url', param, url: source.value }
    default:
      throw gatewayError('IMAGE_NOT_FOUND', {}, { param, outcome: 'not_sent' })
  }
}
