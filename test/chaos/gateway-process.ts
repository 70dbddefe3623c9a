import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { checkpointSteps } from '../../src/tasks/checkpoint.ts'

export interface GatewayProcess {
  readonly url: string
  /** Starts it over and over again, and has it killed each time, until nothing more is to be killed. */
  suffer(): Promise<void>
  /** Starts it once more, to stay. */
  start(): Promise<void>
  stop(): Promise<void>
}

export interface GatewayProcessOptions {
  port: number
  environment: Record<string, string>
  /** Takes the log, for whoever has to find out what happened. */
  logFile: string
  random(): number
  /** Asked before each start whether one more is to be killed. */
  mayKill(): boolean
  /** Hears of every kill. */
  killed(how: string): void
  /** Hears of every end that was no kill. */
  endedByItself(): void
}

const entry = fileURLToPath(new URL('./gateway.ts', import.meta.url))

/** One of the gateways: a process of its own that dies often. */
export function createGatewayProcess(options: GatewayProcessOptions): GatewayProcess {
  const { random } = options
  const url = `http://127.0.0.1:${options.port}`
  const log = createWriteStream(options.logFile, { flags: 'a' })
  let child: ChildProcess | undefined

  async function launch(crash: string): Promise<{ child: ChildProcess; exit: Promise<(number | string | null)[]> }> {
    const launched = spawn(process.execPath, [entry], {
      env: { PATH: process.env.PATH ?? '', ATELIER_LISTEN: `127.0.0.1:${options.port}`, CHAOS_CRASH: crash, ...options.environment },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    launched.stdout.pipe(log, { end: false })
    launched.stderr.pipe(log, { end: false })
    child = launched
    const exit = once(launched, 'exit')
    await Promise.race([ready(), exit])
    return { child: launched, exit }
  }

  async function ready(): Promise<void> {
    for (;;) {
      const status = await fetch(`${url}/readyz`).then(
        (response) => response.status,
        () => 0
      )
      if (status === 200) return
      await sleep(20)
    }
  }

  return {
    url,
    async suffer() {
      while (options.mayKill()) {
        const step = checkpointSteps[Math.floor(random() * (checkpointSteps.length + 3))]
        const { child, exit } = await launch(step === undefined ? '' : `${step}:${1 + Math.floor(random() * 6)}`)
        const isOver = await Promise.race([exit.then(() => true), sleep(step === undefined ? random() * 600 : 4_000, false)])
        if (!isOver) child.kill('SIGKILL')
        const [, signal] = await exit
        // One that finds no database when it starts ends by itself.
        if (signal === 'SIGKILL') options.killed(isOver && step !== undefined ? step : 'at random')
        else options.endedByItself()
      }
    },
    async start() {
      await launch('')
    },
    async stop() {
      if (!child || child.exitCode !== null || child.signalCode !== null) return
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
      log.end()
    }
  }
}
