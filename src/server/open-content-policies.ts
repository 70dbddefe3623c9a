import { keepContentRules } from '../admission/content/content-rules.ts'
import { createModerate } from '../admission/content/moderate.ts'
import type { AdministeredService } from '../invoke/administer.ts'
import { createContentPolicyOperations } from '../invoke/content-policy-operations.ts'
import { createContentGate } from '../services/content-gate.ts'
import { createContentPolicies } from '../services/content-policies.ts'
import type { Gate } from '../services/guarded-runner.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import type { UntrustedUrlFetcher } from '../upstream/untrusted-url.ts'
import type { Storage } from './open-storage.ts'

export interface ContentPolicyParts {
  contentGate: Gate
  contentPolicyOperations: AdministeredService
}

/** What holds requests against the policies of their organizations, and what administers those. Throws where the database does. */
export async function openContentPolicies(
  deps: Pick<Storage, 'database' | 'credentialSealer'> & { copies: LiveCopies; fetcher: UntrustedUrlFetcher }
): Promise<ContentPolicyParts> {
  return {
    contentGate: createContentGate({ rulesOf: await keepContentRules(deps), moderate: createModerate(deps) }),
    contentPolicyOperations: createContentPolicyOperations(createContentPolicies(deps))
  }
}
