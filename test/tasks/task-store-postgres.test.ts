import { afterAll } from 'vitest'
import { taskStoreSuite } from '../suites/task-store.ts'
import { taskStoreFaultSuite } from '../suites/task-store-faults.ts'
import { startPostgres } from '../support/postgres.ts'
import { openPostgresStores } from '../support/task-stores.ts'

const cluster = await startPostgres()
afterAll(() => cluster[Symbol.asyncDispose]())

const open = async () => openPostgresStores(await cluster.createDatabase())

taskStoreSuite('PostgreSQL', open)
taskStoreFaultSuite('PostgreSQL', open, 25)
