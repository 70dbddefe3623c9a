import { UsageService } from '../../gen/atelier/v1/usage_service_pb.ts'
import type { UsageReports } from '../services/usage.ts'
import { type AdministeredService, administer } from './administer.ts'

/** Every operation of UsageService. */
export function createUsageOperations({ usage }: { usage: UsageReports }): AdministeredService {
  return administer(UsageService, {
    async queryUsage(request, note) {
      note({ organization: request.filter?.organizationId || undefined })
      return usage.query(request)
    },
    async listLedgerEntries(request, note) {
      note({ organization: request.filter?.organizationId || undefined })
      return usage.list(request)
    }
  })
}
