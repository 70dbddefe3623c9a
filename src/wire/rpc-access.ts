import type { DescMethod, DescService } from '@bufbuild/protobuf'
import { AdminService } from '../../gen/atelier/v1/admin_service_pb.ts'
import { BudgetService } from '../../gen/atelier/v1/budget_service_pb.ts'
import { ContentPolicyService } from '../../gen/atelier/v1/content_policy_service_pb.ts'
import { CredentialService } from '../../gen/atelier/v1/credential_service_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { MasterKeyService } from '../../gen/atelier/v1/master_key_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { RateLimitService } from '../../gen/atelier/v1/rate_limit_service_pb.ts'
import { TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import { UsageService } from '../../gen/atelier/v1/usage_service_pb.ts'
import type { NeededScope } from '../call.ts'

/** The services of the administrator. */
export const adminServices: readonly DescService[] = [
  AdminService,
  CredentialService,
  BudgetService,
  UsageService,
  RateLimitService,
  ContentPolicyService,
  MasterKeyService
]

/** The services that need an API key. */
export const guardedServices: readonly DescService[] = [...adminServices, ImageService, ModelService, TaskService]

/** What a caller's key must allow before the body of its request is read; undefined for what needs no key. */
export function scopeOfRpc(method: DescMethod): NeededScope | undefined {
  return scopes.get(method)
}

const scopes = new Map<DescMethod, NeededScope>([
  ...scopesOf(ImageService, {
    generateImages: 'generate',
    streamGenerateImages: 'generate',
    estimateCost: 'generate',
    editImages: 'edit',
    streamEditImages: 'edit',
    createVariations: 'edit',
    uploadImage: 'edit',
    deleteImage: ['generate', 'edit']
  }),
  ...scopesOf(ModelService, { listModels: 'generate', getModel: 'generate' }),
  ...scopesOf(TaskService, {
    // Which of the two, the operation in the body decides.
    createTask: ['generate', 'edit'],
    getTask: 'read_tasks',
    listTasks: 'read_tasks',
    watchTask: 'read_tasks',
    cancelTask: ['generate', 'edit'],
    redeliverCallback: ['generate', 'edit']
  }),
  ...adminServices.flatMap(({ methods }) => methods.map((method) => [method, 'admin'] as const))
])

/** A method without a scope does not compile. */
function scopesOf<Service extends DescService>(
  service: Service,
  table: Record<keyof Service['method'], NeededScope>
): [DescMethod, NeededScope][] {
  return service.methods.map((method) => {
    const scope = table[method.localName]
    if (scope === undefined) throw new Error(`the RPC ${method.name} needs a scope`)
    return [method, scope]
  })
}
