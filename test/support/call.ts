import type { Call } from '../../src/call.ts'
import { createLog } from '../../src/log.ts'
import type { ProviderChoices } from '../../src/wire/provider-choice.ts'

/** Headers choose nothing here. */
export const noChoices: ProviderChoices = { ofHeaders: () => undefined }

/** A call of the organization `default` that waits as long as it takes and writes no log. */
export function createCall(call: Partial<Call> = {}): Call {
  return {
    id: 'request-1',
    caller: { organizationId: 'default', apiKeyId: 'key-1', scopes: ['generate'] },
    signal: new AbortController().signal,
    deadlineMs: Number.POSITIVE_INFINITY,
    log: createLog({ level: 'silent' }),
    ...call
  }
}
