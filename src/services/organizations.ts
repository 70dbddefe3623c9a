import { create } from '@bufbuild/protobuf'
import {
  type CreateOrganizationRequest,
  type GetOrganizationRequest,
  type ListOrganizationsRequest,
  type ListOrganizationsResponse,
  ListOrganizationsResponseSchema,
  type UpdateOrganizationRequest
} from '../../gen/atelier/v1/admin_service_pb.ts'
import {
  type Organization,
  OrganizationSchema,
  type PlatformCredentials,
  PlatformCredentialsSchema
} from '../../gen/atelier/v1/organization_pb.ts'
import { enumValue, wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { Database } from '../storage/database.ts'
import { ConflictError } from '../storage/database-error.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import { defaultOrganizationId, type OrganizationRow } from '../storage/schema.ts'
import { toSeconds } from '../storage/to-seconds.ts'
import { readPage } from './page.ts'

/** The operator's way to organizations. Throws DATABASE_UNAVAILABLE where the database fails. */
export interface Organizations {
  /** Throws ALREADY_EXISTS. */
  create(request: CreateOrganizationRequest): Promise<Organization>
  /** Throws NOT_FOUND. */
  get(request: GetOrganizationRequest): Promise<Organization>
  list(request: ListOrganizationsRequest): Promise<ListOrganizationsResponse>
  /** Throws NOT_FOUND, and INVALID_PARAMETER for disabling the operator's own. */
  update(request: UpdateOrganizationRequest): Promise<Organization>
}

export function createOrganizations(deps: { database: Database; copies: Pick<LiveCopies, 'change'> }): Organizations {
  const { query } = deps.database

  const read = async (id: string): Promise<Organization> => {
    const row = await orUnavailable(query.selectFrom('organizations').selectAll().where('id', '=', id).executeTakeFirst())
    if (!row) throw notFound(id)
    return toOrganization(row)
  }

  return {
    async create({ id, name, platformCredentials }) {
      const policy = policyOf(platformCredentials) ?? 'when_missing'
      const row = { id, name: name || id, created_at_ms: Date.now(), disabled_at_ms: null, platform_credentials: policy }
      const insert = query
        .insertInto('organizations')
        .values(row)
        .onConflict((conflict) => conflict.column('id').doNothing())
      await orUnavailable(deps.copies.change([{ query: insert, expectRows: 1 }])).catch((error: unknown) => {
        throw error instanceof ConflictError ? gatewayError('ALREADY_EXISTS', { kind: 'organization', id }, { param: 'id' }) : error
      })
      return toOrganization(row)
    },
    get: ({ id }) => read(id),
    async list(request) {
      const { rows, nextPageToken } = await readPage<OrganizationRow, readonly [string]>(request, {
        name: 'organizations',
        shape: ['string'],
        read(limit, after) {
          const some = query.selectFrom('organizations').selectAll().orderBy('id').limit(limit)
          return orUnavailable((after === undefined ? some : some.where('id', '>', after[0])).execute())
        },
        placeOf: ({ id }) => [id]
      })
      return create(ListOrganizationsResponseSchema, { organizations: rows.map(toOrganization), nextPageToken })
    },
    async update({ id, name, disabled, platformCredentials }) {
      if (disabled && id === defaultOrganizationId) {
        throw gatewayError('INVALID_PARAMETER', { param: 'disabled', problem: `must be false for ${id}, the operator's own organization` })
      }
      const before = await read(id)
      const policy = policyOf(platformCredentials)
      const changed = {
        ...(name === undefined ? {} : { name }),
        ...(policy === undefined ? {} : { platform_credentials: policy }),
        // Whoever disables it again does not move the time.
        ...(disabled === undefined || disabled === before.disabled ? {} : { disabled_at_ms: disabled ? Date.now() : null })
      }
      if (Object.keys(changed).length === 0) return before
      await orUnavailable(
        deps.copies.change([{ query: query.updateTable('organizations').set(changed).where('id', '=', id), expectRows: 1 }])
      )
      return read(id)
    }
  }
}

function toOrganization({ id, name, created_at_ms, disabled_at_ms, platform_credentials }: OrganizationRow): Organization {
  const platformCredentials = enumValue(PlatformCredentialsSchema, platform_credentials)
  return create(OrganizationSchema, {
    id,
    name,
    disabled: disabled_at_ms !== null,
    createdAt: toSeconds(created_at_ms),
    ...(platformCredentials !== undefined && { platformCredentials })
  })
}

function policyOf(value: PlatformCredentials): OrganizationRow['platform_credentials'] | undefined {
  return wireName(PlatformCredentialsSchema, value) as OrganizationRow['platform_credentials'] | undefined
}

function notFound(id: string) {
  return gatewayError('NOT_FOUND', { kind: 'organization', id }, { param: 'id' })
}
