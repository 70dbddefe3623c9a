import { ContentPolicyService } from '../../gen/atelier/v1/content_policy_service_pb.ts'
import type { ContentPolicies } from '../services/content-policies.ts'
import { type AdministeredService, administer } from './administer.ts'

/** Every operation of ContentPolicyService. */
export function createContentPolicyOperations(policies: ContentPolicies): AdministeredService {
  return administer(ContentPolicyService, {
    async setContentPolicy(request, note) {
      note({ organization: request.organizationId })
      return { policy: await policies.set(request) }
    },
    async getContentPolicy(request, note) {
      note({ organization: request.organizationId })
      return { policy: await policies.get(request) }
    },
    listContentPolicies: (request) => policies.list(request),
    async deleteContentPolicy(request, note) {
      note({ organization: request.organizationId })
      await policies.delete(request)
      return {}
    }
  })
}
