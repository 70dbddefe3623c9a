import type { ApiKeyStore } from '../admission/api-key-store.ts'
import type { Settings } from '../config.ts'
import { createAdminOperations } from '../invoke/admin-operations.ts'
import type { AdministeredService } from '../invoke/administer.ts'
import { createBudgetOperations } from '../invoke/budget-operations.ts'
import { createCredentialOperations } from '../invoke/credential-operations.ts'
import { createMasterKeyOperations } from '../invoke/master-key-operations.ts'
import { createUsageOperations } from '../invoke/usage-operations.ts'
import type { Credentials } from '../routing/credentials.ts'
import { createApiKeys } from '../services/api-keys.ts'
import { createBudgetAdministration } from '../services/budgets.ts'
import { createStoredCredentials } from '../services/credentials.ts'
import { createMasterKeys } from '../services/master-keys.ts'
import { createOrganizations } from '../services/organizations.ts'
import { createUsageReports } from '../services/usage.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { createReseal } from '../storage/reseal.ts'
import type { Storage } from './open-storage.ts'

export interface AdministrationDeps extends Storage {
  copies: LiveCopies
  keys: ApiKeyStore
  credentials: Credentials
}

/** What an administrator acts with on organizations, keys, credentials, budgets, usage and the master key. */
export function openAdministration({ providers }: Pick<Settings, 'providers'>, deps: AdministrationDeps): AdministeredService[] {
  const callable = providers.filter(({ adapter }) => adapter !== 'sketch').map(({ name }) => name)
  return [
    createAdminOperations({ organizations: createOrganizations(deps), apiKeys: createApiKeys(deps) }),
    createCredentialOperations({ credentials: createStoredCredentials({ ...deps, providers: callable, sealer: deps.credentialSealer }) }),
    createBudgetOperations(createBudgetAdministration(deps)),
    createUsageOperations({ usage: createUsageReports(deps) }),
    createMasterKeyOperations(createMasterKeys({ masterKey: deps.masterKey, reseal: createReseal(deps) }))
  ]
}
