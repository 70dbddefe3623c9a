import type { SealContext } from './seal.ts'

/** A column of sealed values. The context of each is the purpose here, with the `organization_id` and the `id` of its row. */
export interface SealedColumn {
  table: string
  column: string
  purpose: SealContext['purpose']
  /** Which of the derived keys seal it. */
  label: 'requests' | 'credentials'
  /** What it holds, as a part of a sentence; the same for columns that belong together. */
  what: string
}

const tasks = 'the requests and results of its tasks'
const callbacks = 'the addresses of its callbacks'

/** Every column that holds sealed values: what is not here is lost with an old master key. */
export const sealedColumns: readonly SealedColumn[] = [
  { table: 'tasks', column: 'request', purpose: 'request', label: 'requests', what: tasks },
  { table: 'tasks', column: 'result', purpose: 'result', label: 'requests', what: tasks },
  { table: 'attempts', column: 'job_id', purpose: 'job', label: 'requests', what: tasks },
  { table: 'attempts', column: 'result', purpose: 'result', label: 'requests', what: tasks },
  { table: 'callbacks', column: 'url', purpose: 'callback', label: 'requests', what: callbacks },
  {
    table: 'signing_secrets',
    column: 'secret',
    purpose: 'signing secret',
    label: 'requests',
    what: 'the signing secrets of its callbacks'
  },
  { table: 'credentials', column: 'secret', purpose: 'credential', label: 'credentials', what: 'the credentials for providers' },
  {
    table: 'content_policies',
    column: 'moderation_key',
    purpose: 'moderation key',
    label: 'credentials',
    what: 'the keys for moderation endpoints'
  }
]
