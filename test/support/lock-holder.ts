import { lockDataDir } from '../../src/storage/data-dir-lock.ts'

/** Locks a data directory, says so, and holds on to it until it is killed; or prints why it cannot. */
const [dataDir = ''] = process.argv.slice(2)
try {
  await lockDataDir(dataDir)
  console.log('locked')
  setInterval(() => {}, 1_000)
} catch (error) {
  console.log(error instanceof Error ? error.message : String(error))
}
