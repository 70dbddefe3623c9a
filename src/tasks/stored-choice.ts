import { create } from '@bufbuild/protobuf'
import { type StoredChoice, StoredChoiceSchema, type StoredRequest } from '../../gen/atelier/v1/stored_pb.ts'
import type { ProviderChoice } from '../call.ts'

/** A request with the provider that its caller chose. */
export function withChoice(request: StoredRequest, choice: ProviderChoice | undefined): StoredRequest {
  if (choice === undefined) return request
  const { provider = '', credentialName = '', credential = '', customHost = '' } = choice
  return { ...request, choice: create(StoredChoiceSchema, { provider, credentialName, credential, customHost }) }
}

/** What `withChoice` kept. */
export function readChoice(choice: StoredChoice | undefined): ProviderChoice | undefined {
  if (!choice) return undefined
  const { provider, credentialName, credential, customHost } = choice
  return {
    ...(provider !== '' && { provider }),
    ...(credentialName !== '' && { credentialName }),
    ...(credential !== '' && { credential }),
    ...(customHost !== '' && { customHost })
  }
}
