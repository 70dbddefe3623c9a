import type { TaskStores } from '../support/task-stores.ts'
import { taskAdmissionSuite } from './task-store-admission.ts'
import { taskAnswersSuite } from './task-store-answers.ts'
import { taskBudgetSuite } from './task-store-budgets.ts'
import { taskCancellingSuite } from './task-store-cancelling.ts'
import { taskJournalSuite } from './task-store-journal.ts'
import { taskReadingSuite } from './task-store-looking-back.ts'
import { taskTakeoverSuite } from './task-store-taking-over.ts'
import { taskUsageSuite } from './task-store-usage.ts'
import { taskWatchingSuite } from './task-store-watching.ts'

/** What tasks are kept like, by one process and by several. */
export function taskStoreSuite(name: string, open: () => Promise<TaskStores>): void {
  taskAdmissionSuite(name, open)
  taskJournalSuite(name, open)
  taskBudgetSuite(name, open)
  taskUsageSuite(name, open)
  taskTakeoverSuite(name, open)
  taskCancellingSuite(name, open)
  taskWatchingSuite(name, open)
  taskAnswersSuite(name, open)
  taskReadingSuite(name, open)
}
