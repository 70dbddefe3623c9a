import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface RunOptions {
  command: string
  args: readonly string[]
  environment?: Record<string, string>
  /** The process has started when somebody listens here. */
  port: number
  /** Takes both output streams. */
  logFile: string
}

export interface RunningProcess extends AsyncDisposable {
  readonly pid: number
}

/** Starts a server and resolves when its port accepts connections. Throws with the end of its log where it ends before that. */
export async function runProcess(options: RunOptions): Promise<RunningProcess> {
  const log = openSync(options.logFile, 'a')
  const child = spawn(options.command, options.args, {
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/tmp', ...options.environment },
    stdio: ['ignore', log, log]
  })
  closeSync(log)
  await once(child, 'spawn')
  try {
    await listening(child, options.port, options.logFile)
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  return { pid: child.pid ?? 0, [Symbol.asyncDispose]: () => stop(child) }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** Runs a program to its end and returns what it printed. Throws where it fails. */
export async function readOutput(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  const chunks: Buffer[] = await child.stdout.toArray()
  const [code] = await ended
  if (code !== 0) throw new Error(`${command} ended with ${code}`)
  return Buffer.concat(chunks).toString('utf8')
}

const startMs = 30_000
const stopMs = 3_000

async function listening(child: ChildProcess, port: number, logFile: string): Promise<void> {
  const giveUpAt = performance.now() + startMs
  while (!(await accepts(port))) {
    if (child.exitCode !== null || child.signalCode !== null || performance.now() > giveUpAt) {
      throw new Error(`${child.spawnargs.join(' ')} does not listen: ${readFileSync(logFile, 'utf8').slice(-2000)}`)
    }
    await sleep(5)
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs)
  await exited
  clearTimeout(timer)
}
