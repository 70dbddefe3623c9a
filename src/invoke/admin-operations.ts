import { AdminService } from '../../gen/atelier/v1/admin_service_pb.ts'
import type { ApiKeys } from '../services/api-keys.ts'
import type { Organizations } from '../services/organizations.ts'
import { type AdministeredService, administer } from './administer.ts'

export interface AdminServices {
  organizations: Organizations
  apiKeys: ApiKeys
}

/** Every operation of AdminService. */
export function createAdminOperations({ organizations, apiKeys }: AdminServices): AdministeredService {
  return administer(AdminService, {
    async createOrganization(request, note) {
      note({ organization: request.id })
      return { organization: await organizations.create(request) }
    },
    async getOrganization(request, note) {
      note({ organization: request.id })
      return { organization: await organizations.get(request) }
    },
    listOrganizations: (request) => organizations.list(request),
    async updateOrganization(request, note) {
      note({ organization: request.id })
      return { organization: await organizations.update(request) }
    },
    async createApiKey(request, note) {
      note({ organization: request.organizationId })
      const created = await apiKeys.create(request)
      note({ organization: created.apiKey?.organizationId, apiKey: created.apiKey?.id })
      return created
    },
    async getApiKey(request, note) {
      note({ apiKey: request.id })
      const apiKey = await apiKeys.get(request)
      note({ organization: apiKey.organizationId })
      return { apiKey }
    },
    async listApiKeys(request, note) {
      note({ organization: request.organizationId || undefined })
      return apiKeys.list(request)
    },
    async updateApiKey(request, note) {
      note({ apiKey: request.id })
      const apiKey = await apiKeys.update(request)
      note({ organization: apiKey.organizationId })
      return { apiKey }
    },
    async revokeApiKey(request, note) {
      note({ apiKey: request.id })
      const apiKey = await apiKeys.revoke(request)
      note({ organization: apiKey.organizationId })
      return { apiKey }
    }
  })
}
