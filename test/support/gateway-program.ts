import { loadConfig } from '../../src/config.ts'
import { createLog } from '../../src/log.ts'
import { startServer } from '../../src/server.ts'

/** A gateway as it is started in production, of which others notice soon that it has died: its lease is short. */
const { settings } = await loadConfig(process.env)
const log = createLog({ level: settings.logLevel })
const server = await startServer(settings, { log, leaseMs: 1_500 })
log.info({ url: server.url }, 'listening')
