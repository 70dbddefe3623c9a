import type { Statement } from '../../storage/database.ts'
import type { InsertRow } from '../../storage/insert-rows.ts'
import type { Sealer } from '../../storage/seal.ts'
import type { NewTask } from '../task-store.ts'
import { newTask, toTaskRow } from './task-rows.ts'

/** The statements that record a task and what was stored for it. One with an owner is running, any other one queued. */
export function newTaskRows(
  task: NewTask,
  owner: string | undefined,
  nowMs: number,
  { insert, sealer }: { insert: InsertRow; sealer: Sealer }
): Statement[] {
  return [insert('tasks', toTaskRow(task, owner, nowMs, sealer), newTask), ...task.blobs.map((blob) => blob.row)]
}
