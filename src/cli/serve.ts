import { setTimeout as sleep } from 'node:timers/promises'
import { loadConfig, type Settings, secretsOf } from '../config.ts'
import { createLog, type Logger } from '../log.ts'
import type { Server } from '../server.ts'
import { firstKeyPath, saveFirstKey } from './first-key.ts'
import { releaseMemoryWhenQuiet } from './release-memory.ts'
import type { Ending, Terminal } from './terminal.ts'

/** Starts the server and resolves when it has ended: 0 after SIGTERM or SIGINT, 1 after a fault. Rejects where it cannot start. */
export async function serve(terminal: Terminal): Promise<number> {
  const { settings, warnings } = await loadConfig(terminal.environment, { directory: terminal.directory })
  const log = createLog({ level: settings.logLevel, secrets: secretsOf(settings) })
  for (const warning of warnings) log.warn(warning)

  let faults = 0
  const ended = new Promise<Ending>((resolve) => {
    terminal.watch((ending) => {
      if (ending.kind === 'fault') {
        faults += 1
        log.fatal({ err: ending.error }, 'unexpected error, shutting down')
      }
      resolve(ending)
    })
  })
  const server = await Promise.race([start(settings, log), ended.then(() => undefined)])
  if (server !== undefined) {
    await announce(server, settings, terminal, log)
    const stopReleasing = releaseMemoryWhenQuiet(quiet)
    const ending = await ended
    stopReleasing()
    await close(server, ending, settings, log)
  }
  return faults === 0 ? 0 : 1
}

/** When memory is given back. The collection takes something from whoever comes next, so it waits until nobody seems to. */
const quiet = { afterStartMs: 1_000, afterWorkMs: 60_000 }

/** Time for closing files and sockets; after it the end of the process does so. */
const closeMs = 5_000

async function start(settings: Settings, log: Logger): Promise<Server> {
  // Loaded only now, so that a mistake in the configuration is told at once.
  const { startServer } = await import('../server.ts')
  try {
    return await startServer(settings, { log })
  } catch (error) {
    const { host, port } = settings.listen
    const problem = listenProblem(error)
    if (problem === undefined) throw error
    throw new Error(`cannot listen on ${host}:${port}: ${problem} (ATELIER_LISTEN, or \`listen\` in the file, sets another address)`, {
      cause: error
    })
  }
}

function listenProblem(error: unknown): string | undefined {
  if (!(error instanceof Error && 'syscall' in error && 'code' in error)) return undefined
  if (error.syscall === 'getaddrinfo') return 'this host name is not known here'
  if (error.syscall !== 'listen') return undefined
  if (error.code === 'EADDRINUSE') return 'another process listens there'
  if (error.code === 'EADDRNOTAVAIL') return 'this machine does not have that address'
  if (error.code === 'EACCES') return 'the system does not allow it, as it often does for ports below 1024'
  return String(error.code)
}

async function announce(server: Server, settings: Settings, terminal: Terminal, log: Logger): Promise<void> {
  if (terminal.stdout.isTTY) {
    terminal.stdout.write(
      `\nAtelier listens on ${server.url}\n\n${server.firstKey === undefined ? '' : welcome(server.url, server.firstKey)}`
    )
    return
  }
  log.info({ url: server.url }, 'listening')
  if (server.firstKey === undefined) return
  await saveFirstKey(settings.dataDir, server.firstKey)
  log.info({ path: firstKeyPath(settings.dataDir) }, 'created the first API key and wrote it to a file that only this user can read')
}

function welcome(url: string, key: string): string {
  return `This is the first start, so here is an API key. It is not shown again; \`npx atelier new-key\` replaces it.

  ${key}

Try it:

  curl ${url}/v1/images/generations -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -H 'Accept: image/*' -d '{"prompt":"a cat"}' -o cat.png

`
}

async function close(server: Server, ending: Ending, settings: Settings, log: Logger): Promise<void> {
  if (ending.kind === 'signal') {
    log.info({ signal: ending.signal, drainMs: settings.drainMs }, 'shutting down')
    if (!(await finishes(server.drain(), settings.drainMs + closeMs)))
      log.warn({ drainMs: settings.drainMs }, 'draining took too long and was given up')
  }
  if (await finishes(server[Symbol.asyncDispose](), closeMs)) log.info('stopped')
  else log.warn({ closeMs }, 'closing took too long and was given up')
}

async function finishes(work: PromiseLike<void>, limitMs: number): Promise<boolean> {
  const limit = new AbortController()
  const late = sleep(limitMs, false, { signal: limit.signal }).catch(() => false)
  return Promise.race([work.then(() => true), late]).finally(() => limit.abort())
}
