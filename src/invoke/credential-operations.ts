import { CredentialService } from '../../gen/atelier/v1/credential_service_pb.ts'
import type { StoredCredentials } from '../services/credentials.ts'
import { type AdministeredService, administer } from './administer.ts'

/** Every operation of CredentialService. */
export function createCredentialOperations({ credentials }: { credentials: StoredCredentials }): AdministeredService {
  return administer(CredentialService, {
    async setCredential(request, note) {
      note({ organization: request.organizationId || undefined, provider: request.provider })
      const credential = await credentials.set(request)
      note({ organization: credential.organizationId, credential: credential.id })
      return { credential }
    },
    async getCredential(request, note) {
      note({ credential: request.id })
      const credential = await credentials.get(request)
      note({ organization: credential.organizationId })
      return { credential }
    },
    async listCredentials(request, note) {
      note({ organization: request.organizationId || undefined })
      return credentials.list(request)
    },
    async deleteCredential(request, note) {
      note({ credential: request.id })
      const deleted = await credentials.delete(request)
      note({ organization: deleted.credential?.organizationId })
      return deleted
    }
  })
}
