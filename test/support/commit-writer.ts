import { openDatabase } from '../../src/storage/database.ts'

/** Commits organizations named `<prefix>-<n>`, several at a time, and prints each name once its commit is acknowledged; until it is killed. */
const [dataDir = '', prefix = '', databaseUrl] = process.argv.slice(2)
const database = await openDatabase({ dataDir, databaseUrl })
let next = 0

async function write(): Promise<void> {
  for (;;) {
    const id = `${prefix}-${next++}`
    const pair = [id, `${id}-twin`].map((name) => ({
      query: database.query.insertInto('organizations').values({ id: name, name, created_at_ms: Date.now() }),
      expectRows: 1
    }))
    await database.commit(pair)
    process.stdout.write(`${id}\n`)
  }
}

await Promise.all(Array.from({ length: 8 }, write))
