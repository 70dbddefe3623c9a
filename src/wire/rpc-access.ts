import type { DescMethod, DescService } from '@bufbuild/protobuf'
import { AdminService } from '../../gen/atelier/v1/admin_service_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import type { NeededScope } from '../call.ts'

/** The services that need an API key. */
export const guardedServices = [AdminService, ImageService, ModelService, TaskService] as const

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
  ...AdminService.methods.map((method) => [method, 'admin'] as const)
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
