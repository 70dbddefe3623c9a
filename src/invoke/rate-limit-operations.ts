import { RateLimitService } from '../../gen/atelier/v1/rate_limit_service_pb.ts'
import type { RateLimits } from '../services/rate-limits.ts'
import { type AdministeredService, administer } from './administer.ts'

/** Every operation of RateLimitService. */
export function createRateLimitOperations({ rateLimits }: { rateLimits: RateLimits }): AdministeredService {
  return administer(RateLimitService, {
    async setRateLimit(request, note) {
      note({ [request.subject.case === 'apiKeyId' ? 'apiKey' : 'organization']: request.subject.value })
      const rateLimit = await rateLimits.set(request)
      note({ organization: rateLimit.organizationId, rateLimit: rateLimit.id })
      return { rateLimit }
    },
    async listRateLimits(request, note) {
      note({ organization: request.organizationId || undefined, apiKey: request.apiKeyId || undefined })
      return rateLimits.list(request)
    },
    async deleteRateLimit(request, note) {
      note({ rateLimit: request.id })
      const { organizationId } = await rateLimits.delete(request)
      note({ organization: organizationId })
      return {}
    }
  })
}
