import { gatewayError } from '../errors.ts'
import type { Database } from '../storage/database.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'

/** Throws NOT_FOUND where there is no such organization. They are never deleted, so one that is there stays. */
export async function requireOrganization(id: string, { query }: Pick<Database, 'query'>): Promise<void> {
  const row = await orUnavailable(query.selectFrom('organizations').select('id').where('id', '=', id).executeTakeFirst())
  if (!row) throw gatewayError('NOT_FOUND', { kind: 'organization', id }, { param: 'organization_id' })
}
