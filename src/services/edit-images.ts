import type { Call } from '../call.ts'
import type { GenerationEvent } from '../events.ts'
import type { Runner } from '../tasks/runner.ts'
import { type EditOrder, type PlanEdit, storedEdit, storedRequest } from './plan-edit-run.ts'
import type { RequestWays } from './task-order.ts'

/** Serves one edit as a generation with inputs. The images that came with the request stay the caller's to dispose of. */
export function createEditImages({ planEdit, runner }: { planEdit: PlanEdit; runner: Runner }) {
  return async function* editImages(order: EditOrder, call: Call, ways: RequestWays): AsyncIterable<GenerationEvent> {
    const { traceId = '', isRepetition = false, permanentLinks } = ways
    const planned = await planEdit.edit(order, ways, call)
    const stored = storedRequest({ case: 'edit', value: storedEdit(order) }, permanentLinks)
    yield* runner.run({ ...planned, stored, traceId, isRepetition }, call)
  }
}
