import { taskStoreSuite } from '../suites/task-store.ts'
import { openSqliteStores } from '../support/task-stores.ts'

taskStoreSuite('SQLite', openSqliteStores)
