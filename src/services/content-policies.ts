import { create } from '@bufbuild/protobuf'
import { type ContentPolicy, ContentPolicySchema, ModerationFailure } from '../../gen/atelier/v1/content_policy_pb.ts'
import {
  type DeleteContentPolicyRequest,
  type GetContentPolicyRequest,
  type ListContentPoliciesRequest,
  type ListContentPoliciesResponse,
  ListContentPoliciesResponseSchema,
  type SetContentPolicyRequest,
  type SetModerationEndpoint
} from '../../gen/atelier/v1/content_policy_service_pb.ts'
import { patternProblem } from '../admission/content/blocked-patterns.ts'
import { moderationKeyContext, patternsIn } from '../admission/content/content-rules.ts'
import { gatewayError } from '../errors.ts'
import type { Database } from '../storage/database.ts'
import { ConflictError } from '../storage/database-error.ts'
import type { LiveCopies } from '../storage/live-copies.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import { randomBase62 } from '../storage/random-id.ts'
import type { ContentPolicyRow } from '../storage/schema.ts'
import type { Sealer } from '../storage/seal.ts'
import { toSeconds } from '../storage/to-seconds.ts'
import { UntrustedUrlError, type UntrustedUrlFetcher } from '../upstream/untrusted-url.ts'
import { readPage } from './page.ts'
import { requireOrganization } from './require-organization.ts'

/** The operator's way to content policies. No answer holds the key of an endpoint. Throws DATABASE_UNAVAILABLE where the database fails. */
export interface ContentPolicies {
  /** Throws NOT_FOUND for the organization, and INVALID_PARAMETER for a pattern or a URL that makes no sense. */
  set(request: SetContentPolicyRequest): Promise<ContentPolicy>
  /** Throws NOT_FOUND. */
  get(request: GetContentPolicyRequest): Promise<ContentPolicy>
  list(request: ListContentPoliciesRequest): Promise<ListContentPoliciesResponse>
  /** Throws NOT_FOUND for the organization. */
  delete(request: DeleteContentPolicyRequest): Promise<void>
}

export interface ContentPoliciesDeps {
  database: Database
  copies: Pick<LiveCopies, 'change'>
  credentialSealer: Pick<Sealer, 'seal'>
  fetcher: Pick<UntrustedUrlFetcher, 'checkPost'>
}

export function createContentPolicies({ database, copies, credentialSealer, fetcher }: ContentPoliciesDeps): ContentPolicies {
  const { query } = database

  return {
    async set(request) {
      const { organizationId, blockedPatterns, moderation } = request
      const patterns = blockedPatterns.map((pattern) => pattern.trim())
      for (const [index, pattern] of patterns.entries()) checkPattern(pattern, index)
      if (moderation !== undefined) checkUrl(moderation.url)
      await requireOrganization(organizationId, database)
      for (let tries = 1; ; tries++) {
        try {
          return toContentPolicy(await write(organizationId, patterns, moderation))
        } catch (error) {
          // Somebody else has set it at the same time.
          if (!(error instanceof ConflictError) || tries === maxTries) throw error
        }
      }
    },
    async get({ organizationId }) {
      const row = await find(organizationId)
      if (row === undefined)
        throw gatewayError('NOT_FOUND', { kind: 'content policy of', id: organizationId }, { param: 'organization_id' })
      return toContentPolicy(row)
    },
    async list(request) {
      const { rows, nextPageToken } = await readPage<ContentPolicyRow, readonly [string]>(request, {
        name: 'content policies',
        shape: ['string'],
        read(limit, after) {
          const some = query.selectFrom('content_policies').selectAll().orderBy('organization_id').limit(limit)
          return orUnavailable((after === undefined ? some : some.where('organization_id', '>', after[0])).execute())
        },
        placeOf: (row) => [row.organization_id]
      })
      return create(ListContentPoliciesResponseSchema, {
        policies: rows.map((row) => ({ ...toContentPolicy(row), blockedPatterns: [] })),
        nextPageToken
      })
    },
    async delete({ organizationId }) {
      await requireOrganization(organizationId, database)
      await orUnavailable(copies.change([{ query: query.deleteFrom('content_policies').where('organization_id', '=', organizationId) }]))
    }
  }

  async function write(
    organizationId: string,
    patterns: string[],
    moderation: SetModerationEndpoint | undefined
  ): Promise<ContentPolicyRow> {
    const before = await find(organizationId)
    const nowMs = Date.now()
    const identity = {
      id: before?.id ?? `policy_${randomBase62(22)}`,
      organization_id: organizationId,
      created_at_ms: before?.created_at_ms ?? nowMs
    }
    const row: ContentPolicyRow = {
      ...identity,
      blocked_patterns: patterns.join('\n'),
      moderation_url: moderation?.url ?? '',
      moderation_model: moderation?.model ?? '',
      ...keyColumns(moderation, before, identity),
      moderation_timeout_ms: moderation?.timeoutMs || defaultTimeoutMs,
      moderation_failure: moderation?.onFailure === ModerationFailure.OPEN ? 'allow' : 'refuse',
      // It also tells whether somebody else has changed it since it was read.
      updated_at_ms: Math.max(nowMs, (before?.updated_at_ms ?? 0) + 1)
    }
    const unchanged = query
      .updateTable('content_policies')
      .where('id', '=', row.id)
      .where('updated_at_ms', '=', before?.updated_at_ms ?? 0)
    const insert = query.insertInto('content_policies').values(row)
    const statement = before ? unchanged.set(row) : insert.onConflict((conflict) => conflict.doNothing())
    await orUnavailable(copies.change([{ query: statement, expectRows: 1 }]))
    return row
  }

  /** A stored key goes nowhere but where it went before. */
  function keyColumns(
    moderation: SetModerationEndpoint | undefined,
    before: ContentPolicyRow | undefined,
    identity: Pick<ContentPolicyRow, 'id' | 'organization_id'>
  ): Pick<ContentPolicyRow, 'moderation_key' | 'moderation_key_hint'> {
    const isSameOrigin = before !== undefined && moderation !== undefined && originOf(before.moderation_url) === originOf(moderation.url)
    const key = moderation?.key
    if (key === undefined && isSameOrigin) {
      return { moderation_key: before.moderation_key, moderation_key_hint: before.moderation_key_hint }
    }
    if (key === undefined || key === '') return { moderation_key: null, moderation_key_hint: '' }
    return {
      moderation_key: credentialSealer.seal(Buffer.from(key), moderationKeyContext(identity)),
      moderation_key_hint: key.length < minHintedLength ? '' : key.slice(-4)
    }
  }

  function find(organizationId: string): Promise<ContentPolicyRow | undefined> {
    return orUnavailable(query.selectFrom('content_policies').selectAll().where('organization_id', '=', organizationId).executeTakeFirst())
  }

  function checkUrl(url: string): void {
    try {
      fetcher.checkPost(url)
    } catch (error) {
      if (!(error instanceof UntrustedUrlError)) throw error
      const rule = 'moderation endpoints are https addresses on the internet, and those that egress.allow lists'
      throw gatewayError('INVALID_PARAMETER', { param: 'moderation.url', problem: `${error.message}: ${rule}` })
    }
  }
}

const defaultTimeoutMs = 5_000
const maxTries = 10
/** Of a shorter key the last four characters would tell too much. */
const minHintedLength = 16

function checkPattern(pattern: string, index: number): void {
  const problem = /[\r\n]/.test(pattern) ? 'must be on one line' : patternProblem(pattern)
  if (problem !== undefined) throw gatewayError('INVALID_PARAMETER', { param: `blocked_patterns[${index}]`, problem })
}

function originOf(url: string): string | undefined {
  return URL.parse(url)?.origin
}

function toContentPolicy(row: ContentPolicyRow): ContentPolicy {
  const blockedPatterns = patternsIn(row.blocked_patterns)
  return create(ContentPolicySchema, {
    organizationId: row.organization_id,
    blockedPatterns,
    blockedPatternCount: blockedPatterns.length,
    ...(row.moderation_url !== '' && {
      moderation: {
        url: row.moderation_url,
        model: row.moderation_model,
        hasKey: row.moderation_key !== null,
        keyHint: row.moderation_key_hint,
        timeoutMs: row.moderation_timeout_ms,
        onFailure: row.moderation_failure === 'allow' ? ModerationFailure.OPEN : ModerationFailure.CLOSED
      }
    }),
    createdAt: toSeconds(row.created_at_ms),
    updatedAt: toSeconds(row.updated_at_ms)
  })
}
