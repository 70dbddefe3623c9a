import { randomBytes } from 'node:crypto'
import type { Database } from '../../storage/database.ts'
import { ConflictError } from '../../storage/database-error.ts'
import { randomBase62 } from '../../storage/random-id.ts'
import { neverMs, type SigningSecretRow } from '../../storage/schema.ts'
import { keyIdOf, type SealContext, type Sealer } from '../../storage/seal.ts'

/** The secrets that the callbacks of each organization are signed with, as receivers write them: `whsec_` and 32 bytes in base64. */
export interface CallbackSecrets {
  /** The newest one; made at the first need, and the same for every process that asks. The organization must exist. */
  current(organizationId: string): Promise<string>
  /** All that sign at present, the newest first: an older one goes on signing for 24 hours. Makes the first one. */
  signing(organizationId: string): Promise<string[]>
  /** Makes a new one and returns it. */
  rotate(organizationId: string): Promise<string>
  /** Seals with the current master key what an earlier one sealed, so that the earlier one can go. Returns the number of secrets. */
  reseal(): Promise<number>
}

const secretBytes = 32
const overlapMs = 24 * 3_600_000
/** Two rotations at once are rare enough; each round one of them succeeds. */
const maxRotationTries = 10

export function createCallbackSecrets(deps: { database: Database; sealer: Sealer; now?: () => number }): CallbackSecrets {
  const { database, sealer } = deps
  const { query } = database
  const now = deps.now ?? Date.now

  return { current, signing, rotate, reseal }

  async function current(organizationId: string): Promise<string> {
    const [newest] = await signing(organizationId)
    if (newest === undefined) throw new Error(`the organization ${organizationId} has no signing secret, although one was made`)
    return newest
  }

  async function signing(organizationId: string): Promise<string[]> {
    const found = await read(organizationId)
    if (found.some((row) => row.expires_at_ms === null)) return found.map(open)
    // Of several processes that find none, one makes it: the database has one newest secret for each organization.
    await query
      .insertInto('signing_secrets')
      .values(newRow(organizationId))
      .onConflict((conflict) => conflict.doNothing())
      .execute()
    return (await read(organizationId)).map(open)
  }

  async function rotate(organizationId: string): Promise<string> {
    for (let tries = 1; ; tries++) {
      const row = newRow(organizationId)
      const ofOrganization = query.updateTable('signing_secrets').where('organization_id', '=', organizationId)
      const retire = ofOrganization.where('expires_at_ms', 'is', null).set({ expires_at_ms: row.created_at_ms + overlapMs })
      const forget = query
        .deleteFrom('signing_secrets')
        .where('organization_id', '=', organizationId)
        .where('expires_at_ms', '<=', row.created_at_ms)
      const insert = query
        .insertInto('signing_secrets')
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
      try {
        await database.commit([{ query: retire }, { query: forget }, { query: insert, expectRows: 1 }])
        return open(row)
      } catch (error) {
        if (!(error instanceof ConflictError) || tries === maxRotationTries) throw error
      }
    }
  }

  async function reseal(): Promise<number> {
    const rows = await query.selectFrom('signing_secrets').selectAll().execute()
    const renewed = rows.map((row) => ({ row, secret: sealer.seal(openBytes(row), contextOf(row)) }))
    const outdated = renewed.filter(({ row, secret }) => keyIdOf(row.secret) !== keyIdOf(secret))
    await database.commit(
      outdated.map(({ row, secret }) => ({ query: query.updateTable('signing_secrets').set({ secret }).where('id', '=', row.id) }))
    )
    return outdated.length
  }

  async function read(organizationId: string): Promise<SigningSecretRow[]> {
    const rows = await query
      .selectFrom('signing_secrets')
      .selectAll()
      .where('organization_id', '=', organizationId)
      .where((where) => where.or([where('expires_at_ms', 'is', null), where('expires_at_ms', '>', now())]))
      .execute()
    return rows.toSorted((one, other) => (other.expires_at_ms ?? neverMs) - (one.expires_at_ms ?? neverMs))
  }

  function newRow(organizationId: string): SigningSecretRow {
    const id = randomBase62(22)
    const secret = sealer.seal(randomBytes(secretBytes), contextOf({ id, organization_id: organizationId }))
    return { id, organization_id: organizationId, secret, created_at_ms: now(), expires_at_ms: null }
  }

  function open(row: SigningSecretRow): string {
    return `whsec_${Buffer.from(openBytes(row)).toString('base64')}`
  }

  function openBytes(row: SigningSecretRow): Uint8Array {
    return sealer.open(row.secret, contextOf(row))
  }
}

function contextOf({ id, organization_id: organizationId }: Pick<SigningSecretRow, 'id' | 'organization_id'>): SealContext {
  return { purpose: 'signing secret', organizationId, id }
}
