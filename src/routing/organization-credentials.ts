import type { Logger } from '../log.ts'
import type { Database } from '../storage/database.ts'
import type { OrganizationRow } from '../storage/schema.ts'
import type { Sealer } from '../storage/seal.ts'

/** What an organization says about the keys that its requests are served with. */
export interface OrganizationCredentials {
  /** When the operator's own keys may serve it. */
  platform: OrganizationRow['platform_credentials']
  /** By their names. */
  own: readonly OwnCredential[]
}

export interface OwnCredential {
  id: string
  provider: string
  name: string
  weight: number
  /** Undefined where it cannot be opened. */
  secret: string | undefined
}

/**
 * Reads what is not as for every organization: credentials, which are opened, and the use of the operator's. One that cannot be opened is
 * logged and is there without its secret, so that no other key is taken in its place.
 */
export async function loadOrganizationCredentials(deps: {
  database: Pick<Database, 'query'>
  sealer: Pick<Sealer, 'open'>
  log: Logger
}): Promise<ReadonlyMap<string, OrganizationCredentials>> {
  const { query } = deps.database
  const columns = ['id', 'organization_id', 'provider', 'name', 'weight', 'secret'] as const
  const [policies, rows] = await Promise.all([
    query.selectFrom('organizations').select(['id', 'platform_credentials']).where('platform_credentials', '<>', 'when_missing').execute(),
    query.selectFrom('credentials').select(columns).orderBy('name').execute()
  ])
  const policyOf = new Map(policies.map((row) => [row.id, row.platform_credentials]))
  const rowsOf = Map.groupBy(rows, (row) => row.organization_id)
  const organizations = new Set([...policyOf.keys(), ...rowsOf.keys()])
  return new Map(
    [...organizations].map((organizationId) => {
      const own = (rowsOf.get(organizationId) ?? []).map(({ id, provider, name, weight, secret }) => {
        return { id, provider, name, weight, secret: open(secret, organizationId, id) }
      })
      return [organizationId, { platform: policyOf.get(organizationId) ?? 'when_missing', own }]
    })
  )

  function open(sealed: Uint8Array, organizationId: string, id: string): string | undefined {
    try {
      return Buffer.from(deps.sealer.open(sealed, { purpose: 'credential', organizationId, id })).toString()
    } catch (err) {
      deps.log.error({ err, organization: organizationId, credential: id }, 'a credential cannot be read and is not used: set it again')
      return undefined
    }
  }
}
