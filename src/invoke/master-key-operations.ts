import { MasterKeyService } from '../../gen/atelier/v1/master_key_service_pb.ts'
import type { MasterKeys } from '../services/master-keys.ts'
import { type AdministeredService, administer } from './administer.ts'

/** Every operation of MasterKeyService. */
export function createMasterKeyOperations(masterKeys: MasterKeys): AdministeredService {
  return administer(MasterKeyService, {
    async getMasterKeyStatus() {
      return { status: await masterKeys.status() }
    },
    async rotateMasterKey(_, note) {
      const rotated = await masterKeys.rotate()
      note({ masterKey: rotated.keyId })
      return rotated
    },
    reseal: (request) => masterKeys.reseal(request)
  })
}
