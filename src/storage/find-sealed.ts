import type { Database } from './database.ts'
import type { DerivedKey } from './master-key.ts'
import { keyIdOf } from './seal.ts'

/** What the database holds that only a master key can open, as a part of a sentence; undefined where it holds nothing of the kind. */
export async function findSealed(database: Database): Promise<string | undefined> {
  const [task, secret] = await Promise.all([
    database.query.selectFrom('tasks').select('id').limit(1).executeTakeFirst(),
    database.query.selectFrom('signing_secrets').select('id').limit(1).executeTakeFirst()
  ])
  const found = [...(task ? ['the requests and results of its tasks'] : []), ...(secret ? ['the signing secrets of its callbacks'] : [])]
  return found.length > 0 ? found.join(' and ') : undefined
}

/**
 * Ids of master keys that are not among these, and that are needed for what is needed soonest: tasks that are not final yet, the latest of
 * those that are, and signing secrets. Empty where nothing is missing.
 */
export async function findUnknownKeys(database: Database, keys: readonly DerivedKey[]): Promise<string[]> {
  const [tasks, secrets] = await Promise.all([
    database.query.selectFrom('tasks').select('request').orderBy('expires_at_ms', 'desc').limit(sampleSize).execute(),
    database.query.selectFrom('signing_secrets').select('secret').limit(sampleSize).execute()
  ])
  const sealed = [...tasks.map((row) => row.request), ...secrets.map((row) => row.secret)]
  const known = new Set(keys.map(({ keyId }) => keyId))
  return [...new Set(sealed.map(keyIdOf))].filter((keyId) => !known.has(keyId))
}

const sampleSize = 50
