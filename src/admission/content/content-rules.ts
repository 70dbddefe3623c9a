import type { Database } from '../../storage/database.ts'
import type { LiveCopies } from '../../storage/live-copies.ts'
import type { ContentPolicyRow } from '../../storage/schema.ts'
import { type SealContext, SealError, type Sealer } from '../../storage/seal.ts'
import { createBlockedPatterns } from './blocked-patterns.ts'
import { type ModerationEndpoint, moderationUnavailable } from './moderate.ts'

/** What the requests of an organization are held against. */
export interface ContentRules {
  /** Whether a text holds what is blocked. */
  blocks(text: string): boolean
  /** Unset: nobody is asked. */
  moderation?: {
    /** What becomes of a request where the endpoint gives no answer. */
    onFailure: ContentPolicyRow['moderation_failure']
    /** Opens the endpoint's key. Throws MODERATION_UNAVAILABLE where that cannot be done. */
    endpoint(): ModerationEndpoint
  }
}

/** Keeps the policies of all organizations in memory, current to within about a second. The returned function asks nobody. */
export async function keepContentRules(deps: {
  database: Pick<Database, 'query'>
  copies: Pick<LiveCopies, 'keep'>
  credentialSealer: Pick<Sealer, 'open'>
}): Promise<(organizationId: string) => ContentRules | undefined> {
  /** To read thousands of patterns takes longer than to see that they are the same. */
  let matchers = new Map<string, ContentRules['blocks']>()
  const rules = await deps.copies.keep(async () => {
    const rows = await deps.database.query.selectFrom('content_policies').selectAll().execute()
    matchers = new Map(rows.map(({ blocked_patterns: text }) => [text, matchers.get(text) ?? createBlockedPatterns(patternsIn(text))]))
    return new Map(rows.map((row) => [row.organization_id, rulesOf(row, matchers.get(row.blocked_patterns), deps.credentialSealer)]))
  })
  return (organizationId) => rules().get(organizationId)
}

/** The patterns of a row, which stand one on each line. */
export function patternsIn(text: string): string[] {
  return text === '' ? [] : text.split('\n')
}

/** What the key of a policy's endpoint is sealed with. */
export function moderationKeyContext(row: Pick<ContentPolicyRow, 'id' | 'organization_id'>): SealContext {
  return { purpose: 'moderation key', organizationId: row.organization_id, id: row.id }
}

function rulesOf(row: ContentPolicyRow, blocks: ContentRules['blocks'] = () => false, sealer: Pick<Sealer, 'open'>): ContentRules {
  if (row.moderation_url === '') return { blocks }
  const { moderation_url: url, moderation_model: model, moderation_timeout_ms: timeoutMs, moderation_key: sealed } = row
  return {
    blocks,
    moderation: {
      onFailure: row.moderation_failure,
      endpoint: () => ({ url, model, timeoutMs, ...(sealed !== null && { key: openKey(sealed, moderationKeyContext(row), sealer) }) })
    }
  }
}

function openKey(sealed: Uint8Array, context: SealContext, sealer: Pick<Sealer, 'open'>): string {
  try {
    return Buffer.from(sealer.open(sealed, context)).toString()
  } catch (cause) {
    if (!(cause instanceof SealError)) throw cause
    throw moderationUnavailable('its key cannot be opened', { retryable: false, cause })
  }
}
