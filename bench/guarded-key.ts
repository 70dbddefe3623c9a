import { createClient } from '@connectrpc/connect'
import { createConnectTransport } from '@connectrpc/connect-node'
import { AdminService } from '../gen/atelier/v1/admin_service_pb.ts'
import { ApiKeyScope } from '../gen/atelier/v1/api_key_pb.ts'
import { BudgetPeriod } from '../gen/atelier/v1/budget_pb.ts'
import { BudgetService } from '../gen/atelier/v1/budget_service_pb.ts'
import { RateLimitMetric } from '../gen/atelier/v1/rate_limit_pb.ts'
import { RateLimitService } from '../gen/atelier/v1/rate_limit_service_pb.ts'

/** Makes an organization and a key of it, with budgets and rate limits that are checked at each request and never reached. */
export async function createGuardedKey({ url, adminKey }: { url: string; adminKey: string }): Promise<string> {
  const transport = createConnectTransport({
    baseUrl: url,
    httpVersion: '1.1',
    interceptors: [
      (next) => (request) => {
        request.header.set('authorization', `Bearer ${adminKey}`)
        return next(request)
      }
    ]
  })
  const admin = createClient(AdminService, transport)
  await admin.createOrganization({ id: organizationId, name: 'Acme' })
  const { apiKey, key } = await admin.createApiKey({ organizationId, name: 'bench', scopes: [ApiKeyScope.GENERATE] })
  const budgets = createClient(BudgetService, transport)
  const subjects = [
    { case: 'organizationId', value: organizationId },
    { case: 'apiKeyId', value: apiKey?.id ?? '' }
  ] as const
  for (const subject of subjects) {
    await budgets.setBudget({ subject: { subject }, period: BudgetPeriod.TOTAL, limitMicros: 10n ** 14n, unknownPriceMicros: 40_000n })
  }
  const limits = createClient(RateLimitService, transport)
  for (const { metric, amount, windowSeconds } of rateLimits) {
    for (const subject of subjects) await limits.setRateLimit({ subject, metric, amount, windowSeconds })
  }
  // Until then the running process may not have read them.
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  return key
}

const organizationId = 'acme'

const rateLimits = [
  { metric: RateLimitMetric.REQUESTS, amount: 10n ** 8n, windowSeconds: 60n },
  { metric: RateLimitMetric.IMAGES, amount: 10n ** 8n, windowSeconds: 60n },
  { metric: RateLimitMetric.COST, amount: 10n ** 12n, windowSeconds: 60n },
  { metric: RateLimitMetric.IN_FLIGHT, amount: 10_000n, windowSeconds: 0n }
]
