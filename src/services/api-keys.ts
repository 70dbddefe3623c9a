import { create } from '@bufbuild/protobuf'
import {
  type CreateApiKeyRequest,
  type CreateApiKeyResponse,
  CreateApiKeyResponseSchema,
  type GetApiKeyRequest,
  type ListApiKeysRequest,
  type ListApiKeysResponse,
  ListApiKeysResponseSchema,
  type RevokeApiKeyRequest,
  type UpdateApiKeyRequest
} from '../../gen/atelier/v1/admin_service_pb.ts'
import { type ApiKey, ApiKeySchema, type ApiKeyScope, ApiKeyScopeSchema, ApiKeySourceSchema } from '../../gen/atelier/v1/api_key_pb.ts'
import { type ApiKeyStore, prepareInsert } from '../admission/api-key-store.ts'
import { callerScopes } from '../admission/operator-keys.ts'
import type { Scope } from '../call.ts'
import { enumValue, wireName } from '../contract/wire-names.ts'
import { gatewayError, invalidParameter } from '../errors.ts'
import type { Database } from '../storage/database.ts'
import { ConflictError } from '../storage/database-error.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import { type ApiKeyRow, defaultOrganizationId } from '../storage/schema.ts'
import { toSeconds } from '../storage/to-seconds.ts'
import { readPage } from './page.ts'
import { requireOrganization } from './require-organization.ts'

/** The operator's way to API keys. None but the answer to `create` holds a key. Throws DATABASE_UNAVAILABLE where the database fails. */
export interface ApiKeys {
  /** Throws NOT_FOUND for the organization. */
  create(request: CreateApiKeyRequest): Promise<CreateApiKeyResponse>
  /** Throws NOT_FOUND. */
  get(request: GetApiKeyRequest): Promise<ApiKey>
  list(request: ListApiKeysRequest): Promise<ListApiKeysResponse>
  /** Throws NOT_FOUND, and INVALID_PARAMETER for a key of the configuration and for one that is revoked. */
  update(request: UpdateApiKeyRequest): Promise<ApiKey>
  /** Throws NOT_FOUND, and INVALID_PARAMETER for a key of the configuration. */
  revoke(request: RevokeApiKeyRequest): Promise<ApiKey>
}

type Place = readonly [createdAtMs: number, id: string]

export function createApiKeys(deps: {
  database: Database
  keys: Pick<ApiKeyStore, 'unwrittenUse'>
  copies: Pick<LiveCopies, 'change'>
}): ApiKeys {
  const { database, keys, copies } = deps
  const { query } = database

  const read = async (id: string): Promise<ApiKeyRow> => {
    const row = await orUnavailable(query.selectFrom('api_keys').selectAll().where('id', '=', id).executeTakeFirst())
    if (!row) throw gatewayError('NOT_FOUND', { kind: 'API key', id }, { param: 'id' })
    return row
  }

  const readChangeable = async (id: string): Promise<ApiKeyRow> => {
    const row = await read(id)
    if (row.source === 'config') throw invalidParameter('id', 'is a key of the configuration: change it there')
    return row
  }

  const toApiKey = (row: ApiKeyRow): ApiKey => {
    const lastUsedAtMs = Math.max(row.last_used_at_ms ?? 0, keys.unwrittenUse(row.id) ?? 0)
    return create(ApiKeySchema, {
      id: row.id,
      organizationId: row.organization_id,
      name: row.name,
      hint: row.hint,
      scopes: row.scopes.split(' ').flatMap((scope) => enumValue(ApiKeyScopeSchema, scope) ?? []),
      limits: { models: wordsOf(row.allowed_models), providers: wordsOf(row.allowed_providers) },
      ...withSource(row),
      createdAt: toSeconds(row.created_at_ms),
      ...(row.expires_at_ms !== null && { expiresAt: toSeconds(row.expires_at_ms) }),
      ...(row.revoked_at_ms !== null && { revokedAt: toSeconds(row.revoked_at_ms) }),
      ...(lastUsedAtMs > 0 && { lastUsedAt: toSeconds(lastUsedAtMs) })
    })
  }

  return {
    async create({ organizationId, name, scopes, limits, expiresAt }) {
      const organization = organizationId || defaultOrganizationId
      const { id, key, insert } = prepareInsert(
        {
          organizationId: organization,
          name,
          scopes: scopes.length === 0 ? callerScopes : allowedScopes(scopes, organization),
          ...(expiresAt !== undefined && { expiresAtMs: futureMs(expiresAt) }),
          allowedModels: limits?.models ?? [],
          allowedProviders: limits?.providers ?? []
        },
        database
      )
      await requireOrganization(organization, database)
      await orUnavailable(copies.change([insert]))
      return create(CreateApiKeyResponseSchema, { apiKey: toApiKey(await read(id)), key })
    },
    get: async ({ id }) => toApiKey(await read(id)),
    async list({ organizationId, includeInvalid, ...page }) {
      const { rows, nextPageToken } = await readPage<ApiKeyRow, Place>(page, {
        name: 'api_keys',
        shape: ['number', 'string'],
        read(limit, after) {
          let some = query.selectFrom('api_keys').selectAll().orderBy('created_at_ms', 'desc').orderBy('id', 'desc').limit(limit)
          if (organizationId !== '') some = some.where('organization_id', '=', organizationId)
          if (!includeInvalid) {
            some = some
              .where('revoked_at_ms', 'is', null)
              .where(({ eb, or }) => or([eb('expires_at_ms', 'is', null), eb('expires_at_ms', '>', Date.now())]))
          }
          if (after !== undefined) {
            const [createdAtMs, id] = after
            const older = { at: createdAtMs, id }
            some = some.where(({ eb, or, and }) =>
              or([eb('created_at_ms', '<', older.at), and([eb('created_at_ms', '=', older.at), eb('id', '<', older.id)])])
            )
          }
          return orUnavailable(some.execute())
        },
        placeOf: ({ created_at_ms, id }) => [created_at_ms, id]
      })
      return create(ListApiKeysResponseSchema, { apiKeys: rows.map(toApiKey), nextPageToken })
    },
    async update({ id, name, scopes, limits, expiresAt }) {
      const before = await readChangeable(id)
      const changed = {
        ...(name !== undefined && { name }),
        ...(scopes.length > 0 && { scopes: allowedScopes(scopes, before.organization_id).join(' ') }),
        ...(limits && { allowed_models: limits.models.join(' '), allowed_providers: limits.providers.join(' ') }),
        ...(expiresAt !== undefined && { expires_at_ms: expiresAt === 0n ? null : futureMs(expiresAt) })
      }
      if (before.revoked_at_ms !== null) throw revoked()
      if (Object.keys(changed).length === 0) return toApiKey(before)
      const update = query.updateTable('api_keys').set(changed).where('id', '=', id).where('revoked_at_ms', 'is', null)
      await orUnavailable(copies.change([{ query: update, expectRows: 1 }])).catch((error: unknown) => {
        throw error instanceof ConflictError ? revoked() : error
      })
      return toApiKey(await read(id))
    },
    async revoke({ id }) {
      await readChangeable(id)
      const revoke = query
        .updateTable('api_keys')
        .set({ revoked_at_ms: Date.now() })
        .where('id', '=', id)
        .where('revoked_at_ms', 'is', null)
      await orUnavailable(copies.change([{ query: revoke }]))
      return toApiKey(await read(id))
    }
  }
}

function withSource({ source }: ApiKeyRow) {
  const value = enumValue(ApiKeySourceSchema, source)
  return value === undefined ? {} : { source: value }
}

function wordsOf(text: string): string[] {
  return text === '' ? [] : text.split(' ')
}

/** The scope `admin` operates the whole server, so it is not for tenants. */
function allowedScopes(scopes: readonly ApiKeyScope[], organizationId: string): Scope[] {
  const names = scopes.flatMap((scope) => wireName(ApiKeyScopeSchema, scope) ?? [])
  if (names.includes('admin') && organizationId !== defaultOrganizationId) {
    throw invalidParameter('scopes', `must not hold admin: only keys of the organization ${defaultOrganizationId} can operate the server`)
  }
  return [...new Set(names)] as Scope[]
}

function futureMs(seconds: bigint): number {
  const ms = Number(seconds) * 1000
  if (ms <= Date.now()) throw invalidParameter('expires_at', 'must be in the future')
  return ms
}

function revoked() {
  return invalidParameter('id', 'is a revoked key: make a new one')
}
