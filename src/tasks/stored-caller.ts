import { create } from '@bufbuild/protobuf'
import { type StoredCaller, StoredCallerSchema, type StoredRequest } from '../../gen/atelier/v1/stored_pb.ts'
import type { Caller } from '../call.ts'

/** A request with the limits of the API key that it came with: it is carried out within them whoever does that, and when. */
export function withCaller(request: StoredRequest, { allowedModels, allowedProviders, sharesNothing }: Caller): StoredRequest {
  if (!allowedModels && !allowedProviders && !sharesNothing) return request
  const limits = {
    allowedModels: [...(allowedModels ?? [])],
    allowedProviders: [...(allowedProviders ?? [])],
    sharesNothing: sharesNothing ?? false
  }
  return { ...request, caller: create(StoredCallerSchema, limits) }
}

/** What `withCaller` kept. */
export function readCaller(caller: StoredCaller | undefined): Pick<Caller, 'allowedModels' | 'allowedProviders' | 'sharesNothing'> {
  if (!caller) return {}
  const { allowedModels, allowedProviders, sharesNothing } = caller
  return {
    ...(allowedModels.length > 0 && { allowedModels }),
    ...(allowedProviders.length > 0 && { allowedProviders }),
    ...(sharesNothing && { sharesNothing })
  }
}
