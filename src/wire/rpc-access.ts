import type { DescMethod, DescService } from '@bufbuild/protobuf'
import { AdminService } from '../../gen/atelier/v1/admin_service_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import type { Scope } from '../call.ts'

/** The services that need an API key. */
export const guardedServices = [AdminService, ImageService, ModelService] as const

/** What a caller's key must allow before the body of its request is read; undefined for what needs no key. */
export function scopeOfRpc(method: DescMethod): Scope | undefined {
  return scopes.get(method)
}

const scopes = new Map<DescMethod, Scope>([
  ...scopesOf(ImageService, {
    generateImages: 'generate',
    streamGenerateImages: 'generate',
    estimateCost: 'generate',
    editImages: 'edit',
    streamEditImages: 'edit',
    createVariations: 'edit',
    uploadImage: 'edit'
  }),
  ...scopesOf(ModelService, { listModels: 'generate', getModel: 'generate' }),
  ...AdminService.methods.map((method) => [method, 'admin'] as const)
])

/** A method without a scope does not compile. */
function scopesOf<Service extends DescService>(service: Service, table: Record<keyof Service['method'], Scope>): [DescMethod, Scope][] {
  return service.methods.map((method) => {
    const scope = table[method.localName]
    if (scope === undefined) throw new Error(`the RPC ${method.name} needs a scope`)
    return [method, scope]
  })
}
