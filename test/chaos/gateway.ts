import { loadConfig } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'
import { startServer } from '../../src/server.ts'

/**
 * A gateway that ends itself by SIGKILL where CHAOS_CRASH says: `intended:3` is the third time that a task comes to the step `intended`. Its
 * lease is short, so that others notice soon.
 */
const { settings } = await loadConfig(process.env)
const [step, nth] = (process.env.CHAOS_CRASH ?? '').split(':')
let reached = 0

await startServer(settings, {
  log: createLog({ level: settings.logLevel }),
  leaseMs: 1_500,
  checkpoint(at) {
    if (at !== step) return
    reached += 1
    if (reached === Number(nth)) process.kill(process.pid, 'SIGKILL')
  }
})
