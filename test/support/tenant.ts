import { createClient } from '@connectrpc/connect'
import { ApiKeyScope } from '../../gen/atelier/v1/api_key_pb.ts'
import { BudgetPeriod } from '../../gen/atelier/v1/budget_pb.ts'
import { BudgetService } from '../../gen/atelier/v1/budget_service_pb.ts'
import { ContentPolicyService } from '../../gen/atelier/v1/content_policy_service_pb.ts'
import { CredentialService } from '../../gen/atelier/v1/credential_service_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { RateLimitMetric } from '../../gen/atelier/v1/rate_limit_pb.ts'
import { adminOf, connectWith, createKey } from './admin.ts'
import type { TestServer } from './atelier.ts'
import { halves } from './pictures.ts'
import { rateLimitsOf } from './rate-limits.ts'

/** An organization with one of everything that can belong to one. */
export interface Tenant {
  organizationId: string
  /** Its API key, which may do all that a tenant can do. */
  key: string
  keyId: string
  /** A task with a callback, which has been delivered. */
  taskId: string
  /** A task that runs; empty unless a test begins one. */
  runningTaskId: string
  traceId: string
  /** What the task made. */
  imageId: string
  imageLink: string
  uploadId: string
  /** Under which a request was made before. */
  requestId: string
  credentialId: string
  credentialName: string
  budgetId: string
  rateLimitId: string
}

/** The same of an organization that has none of it. */
export const nobody: Tenant = {
  organizationId: 'nobody',
  key: '',
  keyId: 'zzzzzzzz',
  taskId: `task_${'z'.repeat(22)}`,
  runningTaskId: `task_${'y'.repeat(22)}`,
  traceId: 'a trace of nobody',
  imageId: 'z'.repeat(22),
  imageLink: '',
  uploadId: 'y'.repeat(22),
  requestId: 'a request of nobody',
  credentialId: `credential_${'z'.repeat(22)}`,
  credentialName: 'nobodys-openai',
  budgetId: `budget_${'z'.repeat(22)}`,
  rateLimitId: `limit_${'z'.repeat(22)}`
}

const { GENERATE, EDIT, READ_TASKS } = ApiKeyScope

export async function createTenant(server: TestServer, organizationId: string, callbackUrl: string): Promise<Tenant> {
  await adminOf(server).createOrganization({ id: organizationId })
  const { id: keyId, key } = await createKey(server, { organizationId, scopes: [GENERATE, EDIT, READ_TASKS] })
  const asAdmin = connectWith(server.url, server.adminKey)
  const { credential } = await createClient(CredentialService, asAdmin).setCredential({
    organizationId,
    provider: 'openai',
    name: `${organizationId}-openai`,
    secret: `sk-of-${organizationId}-0123456789`
  })
  const subject = { subject: { case: 'organizationId', value: organizationId } } as const
  const { budget } = await createClient(BudgetService, asAdmin).setBudget({ subject, period: BudgetPeriod.MONTH, limitMicros: 5_000_000n })
  const { rateLimit } = await rateLimitsOf(server).setRateLimit({
    subject: { case: 'organizationId', value: organizationId },
    metric: RateLimitMetric.REQUESTS,
    amount: 1_000n,
    windowSeconds: 60n
  })
  await createClient(ContentPolicyService, asAdmin).setContentPolicy({ organizationId, blockedPatterns: ['forbidden'] })
  const authorization = `Bearer ${key}`
  const traceId = `a trace of ${organizationId}`
  const made = { model: 'sketch', prompt: 'a lighthouse', size: '64x64', trace_id: traceId, callback_url: callbackUrl }
  const taskId = (
    (await (await server.post('/v1/images/generations', made, { authorization, prefer: 'respond-async' })).json()) as { id: string }
  ).id
  const task = (await (await server.get(`/v1/tasks/${taskId}?wait=20`, { authorization })).json()) as TaskAnswer
  const imageLink = task.result?.data[0]?.url ?? ''
  return {
    organizationId,
    key,
    keyId,
    taskId,
    runningTaskId: '',
    traceId,
    imageId: /\/images\/([0-9A-Za-z]+)/.exec(imageLink)?.[1] ?? '',
    imageLink,
    uploadId: await uploadImage(server, key),
    requestId: 'a request of everybody',
    credentialId: credential?.id ?? '',
    credentialName: credential?.name ?? '',
    budgetId: budget?.id ?? '',
    rateLimitId: rateLimit?.id ?? ''
  }
}

interface TaskAnswer {
  result: { data: { url: string }[] } | null
}

/** Uploads an image for edits to refer to, and returns its id. */
export async function uploadImage({ url }: TestServer, key: string): Promise<string> {
  const file = await halves(64, 64, 'png')
  async function* parts() {
    yield { data: new Uint8Array(file) }
  }
  return (await createClient(ImageService, connectWith(url, key)).uploadImage(parts())).imageId
}
