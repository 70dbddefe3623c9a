import { taskStoreFaultSuite } from '../suites/task-store-faults.ts'
import { openSqliteStores } from '../support/task-stores.ts'

taskStoreFaultSuite('SQLite', openSqliteStores, 100)
