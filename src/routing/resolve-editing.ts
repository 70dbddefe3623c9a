import type { ModelInfo } from '../../gen/atelier/v1/model_pb.ts'
import type { Models, Resolution } from './models.ts'

/**
 * Finds who serves an edit, as `models.resolve` does. Where the caller named no model and the default one cannot edit, it is the default's
 * documented replacement, else the first configured model that can; the built-in renderer is none of them.
 */
export function resolveEditing(models: Models, writtenName: string | undefined): Resolution {
  const resolution = models.resolve(writtenName)
  const { info } = resolution.candidate
  if (!resolution.defaulted || canEdit(info)) return resolution
  const editors = models.list().filter((other) => canEdit(other) && other.ownedBy !== 'sketch')
  const other = editors.find(({ id }) => id === info.replacement) ?? editors[0]
  if (!other) return resolution
  return { ...models.resolve(other.id), writtenName: resolution.writtenName, written: undefined, defaulted: true }
}

/** Of a model without capabilities nothing is known, so it may. */
function canEdit({ capabilities }: ModelInfo): boolean {
  return capabilities === undefined || capabilities.maxInputImages > 0
}
