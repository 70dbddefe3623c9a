import type { StoredResult } from '../../gen/atelier/v1/stored_pb.ts'
import type { ProviderEvent } from '../providers/provider.ts'

/** The `completed` event that a result was made of. */
export function endingOf(result: StoredResult): Extract<ProviderEvent, { kind: 'completed' }> {
  const { usage, resolved, cost, warnings, providerFields, credentials } = result
  return {
    kind: 'completed',
    warnings,
    ...(usage && { usage }),
    ...(resolved && { resolved }),
    ...(cost && { cost }),
    ...(providerFields && { providerFields }),
    ...(credentials.length > 0 && { credentials })
  }
}
