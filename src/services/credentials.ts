import { create } from '@bufbuild/protobuf'
import { type Credential, CredentialSchema } from '../../gen/atelier/v1/credential_pb.ts'
import {
  type DeleteCredentialRequest,
  type DeleteCredentialResponse,
  DeleteCredentialResponseSchema,
  type GetCredentialRequest,
  type ListCredentialsRequest,
  type ListCredentialsResponse,
  ListCredentialsResponseSchema,
  type SetCredentialRequest
} from '../../gen/atelier/v1/credential_service_pb.ts'
import { gatewayError, invalidParameter } from '../errors.ts'
import type { Credentials } from '../routing/credentials.ts'
import type { Database, Statement } from '../storage/database.ts'
import { ConflictError } from '../storage/database-error.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import { randomBase62 } from '../storage/random-id.ts'
import { type CredentialRow, defaultOrganizationId } from '../storage/schema.ts'
import type { Sealer } from '../storage/seal.ts'
import { toSeconds } from '../storage/to-seconds.ts'
import { readPage } from './page.ts'
import { requireOrganization } from './require-organization.ts'

/** The operator's way to the organizations' own credentials; no answer holds a key. Throws DATABASE_UNAVAILABLE where the database fails. */
export interface StoredCredentials {
  /** Throws NOT_FOUND for the organization, INVALID_PARAMETER for the provider, MISSING_PARAMETER for a new one without a key. */
  set(request: SetCredentialRequest): Promise<Credential>
  /** Throws NOT_FOUND. */
  get(request: GetCredentialRequest): Promise<Credential>
  list(request: ListCredentialsRequest): Promise<ListCredentialsResponse>
  delete(request: DeleteCredentialRequest): Promise<DeleteCredentialResponse>
}

export interface StoredCredentialsDeps {
  /** Names of the configured providers that a key can be for. */
  providers: readonly string[]
  database: Database
  copies: Pick<LiveCopies, 'change'>
  sealer: Pick<Sealer, 'seal'>
  credentials: Pick<Credentials, 'unwrittenUse'>
}

type Row = Omit<CredentialRow, 'secret'>
type Place = readonly [organizationId: string, name: string]

export function createStoredCredentials(deps: StoredCredentialsDeps): StoredCredentials {
  const { database, copies } = deps
  const { query } = database
  const known = query
    .selectFrom('credentials')
    .select(['id', 'organization_id', 'provider', 'name', 'weight', 'hint', 'created_at_ms', 'set_at_ms', 'last_used_at_ms'])

  const find = (id: string): Promise<Row | undefined> => orUnavailable(known.where('id', '=', id).executeTakeFirst())

  const read = async (id: string): Promise<Credential> => {
    const row = await find(id)
    if (!row) throw gatewayError('NOT_FOUND', { kind: 'credential', id }, { param: 'id' })
    return toCredential(row)
  }

  const toCredential = (row: Row): Credential => {
    const lastUsedAtMs = Math.max(row.last_used_at_ms ?? 0, deps.credentials.unwrittenUse(row.id) ?? 0)
    return create(CredentialSchema, {
      id: row.id,
      organizationId: row.organization_id,
      provider: row.provider,
      name: row.name,
      weight: row.weight,
      hint: row.hint,
      createdAt: toSeconds(row.created_at_ms),
      setAt: toSeconds(row.set_at_ms),
      ...(lastUsedAtMs > 0 && { lastUsedAt: toSeconds(lastUsedAtMs) })
    })
  }

  async function set(request: SetCredentialRequest): Promise<Credential> {
    const { provider } = request
    const organizationId = request.organizationId || defaultOrganizationId
    const name = request.name || provider
    if (!deps.providers.includes(provider)) {
      const hint =
        deps.providers.length === 0
          ? ', and none is: list one in the configuration, such as `providers: { openai: {} }`'
          : `: ${deps.providers.join(', ')}`
      throw invalidParameter('provider', `must be a configured provider that takes a key${hint}`)
    }
    await requireOrganization(organizationId, database)
    for (;;) {
      const byName = known.where('organization_id', '=', organizationId).where('name', '=', name)
      const before = await orUnavailable(byName.executeTakeFirst())
      if (before && before.provider !== provider) {
        throw invalidParameter(
          'provider',
          `is ${before.provider} for the credential ${name}: choose another name, or delete that one first`
        )
      }
      const { id, statement } = before ? update(before, request) : insert({ organizationId, provider, name }, request)
      const isDone = await orUnavailable(copies.change([statement])).then(
        () => true,
        (error: unknown) => {
          // Somebody else has made or deleted it meanwhile.
          if (error instanceof ConflictError) return false
          throw error
        }
      )
      if (isDone) return await read(id)
    }
  }

  function update({ id, organization_id: organizationId }: Row, { secret, weight }: SetCredentialRequest) {
    const changed = {
      organization_id: organizationId,
      ...(weight !== undefined && { weight }),
      ...(secret !== undefined && keyColumns(secret, organizationId, id))
    }
    const statement: Statement = { query: query.updateTable('credentials').set(changed).where('id', '=', id), expectRows: 1 }
    return { id, statement }
  }

  function insert(
    { organizationId, provider, name }: { organizationId: string; provider: string; name: string },
    { secret, weight = 1 }: SetCredentialRequest
  ) {
    if (secret === undefined) throw gatewayError('MISSING_PARAMETER', { param: 'secret' })
    const id = `cred_${randomBase62(22)}`
    const row: CredentialRow = {
      id,
      organization_id: organizationId,
      provider,
      name,
      weight,
      ...keyColumns(secret, organizationId, id),
      created_at_ms: Date.now(),
      last_used_at_ms: null
    }
    const insertion = query
      .insertInto('credentials')
      .values(row)
      .onConflict((conflict) => conflict.columns(['organization_id', 'name']).doNothing())
    return { id, statement: { query: insertion, expectRows: 1 } satisfies Statement }
  }

  function keyColumns(secret: string, organizationId: string, id: string): Pick<CredentialRow, 'secret' | 'hint' | 'set_at_ms'> {
    const sealed = deps.sealer.seal(Buffer.from(secret), { purpose: 'credential', organizationId, id })
    return { secret: sealed, hint: secret.length >= shortestHinted ? secret.slice(-4) : '', set_at_ms: Date.now() }
  }

  return {
    set,
    get: ({ id }) => read(id),
    async list({ organizationId, provider, ...page }) {
      const { rows, nextPageToken } = await readPage<Row, Place>(page, {
        name: 'credentials',
        shape: ['string', 'string'],
        read(limit, after) {
          let some = known.orderBy('organization_id').orderBy('name').limit(limit)
          if (organizationId !== '') some = some.where('organization_id', '=', organizationId)
          if (provider !== '') some = some.where('provider', '=', provider)
          if (after !== undefined) {
            const [organization, name] = after
            some = some.where(({ eb, or, and }) =>
              or([eb('organization_id', '>', organization), and([eb('organization_id', '=', organization), eb('name', '>', name)])])
            )
          }
          return orUnavailable(some.execute())
        },
        placeOf: ({ organization_id, name }) => [organization_id, name]
      })
      return create(ListCredentialsResponseSchema, { credentials: rows.map(toCredential), nextPageToken })
    },
    async delete({ id }) {
      const before = await find(id)
      if (before) await orUnavailable(copies.change([{ query: query.deleteFrom('credentials').where('id', '=', id) }]))
      return create(DeleteCredentialResponseSchema, before ? { credential: toCredential(before) } : {})
    }
  }
}

/** Four characters of a shorter key would tell too much of it. */
const shortestHinted = 16
