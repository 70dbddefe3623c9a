import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startArguments } from './atelier-targets.ts'
import { childrenOf, readUsage } from './process-usage.ts'
import { quantile } from './quantile.ts'
import { freePort } from './run-process.ts'

/** Medians of several starts on a machine that has started it before. */
export interface Startup {
  /** From `npm start`, and from the same command without npm, until `/readyz` says that it is ready. */
  npmStartMs: number
  nodeStartMs: number
  /** Of the gateway, a few seconds after its start and without a request. Unset where the system does not tell. */
  idleRssMB?: number
}

export async function measureStartup(options: { starts: number; idleMs: number }): Promise<Startup> {
  const root = join(import.meta.dirname, '..')
  const direct = { command: process.execPath, args: startArguments() }
  const npm = { command: 'npm', args: ['start', '--silent', '--prefix', root] }
  await startOnce(direct, 0)
  const directStarts = []
  const npmStarts = []
  for (let start = 0; start < options.starts; start++) {
    directStarts.push(await startOnce(direct, 0))
    npmStarts.push(await startOnce(npm, options.idleMs))
  }
  const memory = npmStarts.flatMap(({ idleRssMB }) => idleRssMB ?? [])
  return {
    npmStartMs: quantile(
      npmStarts.map(({ readyMs }) => readyMs),
      0.5
    ),
    nodeStartMs: quantile(
      directStarts.map(({ readyMs }) => readyMs),
      0.5
    ),
    ...(memory.length === 0 ? {} : { idleRssMB: quantile(memory, 0.5) })
  }
}

async function startOnce({ command, args }: { command: string; args: string[] }, idleMs: number) {
  const directory = await mkdtemp(join(tmpdir(), 'atelier-bench-'))
  const port = await freePort()
  const environment = { ATELIER_LISTEN: `127.0.0.1:${port}`, ATELIER_DATA_DIR: directory, ATELIER_API_KEY: 'sk-bench-0123456789abcdefghij' }
  const beganAt = performance.now()
  const child = spawn(command, args, { env: { ...process.env, ...environment }, stdio: 'ignore' })
  const exited = once(child, 'exit')
  try {
    while (!(await isReady(port))) {
      if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`)
      await sleep(5)
    }
    const readyMs = performance.now() - beganAt
    await sleep(idleMs)
    const gateway = await findGateway(child.pid ?? 0)
    const idleRssMB = readUsage(gateway)?.rssMB
    process.kill(gateway, 'SIGTERM')
    return { readyMs, idleRssMB }
  } finally {
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000)
    await exited
    clearTimeout(timer)
    await rm(directory, { recursive: true, force: true })
  }
}

async function isReady(port: number): Promise<boolean> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`)
    await answer.arrayBuffer()
    return answer.ok
  } catch {
    return false
  }
}

/** The gateway itself among the processes that npm has started. */
async function findGateway(pid: number): Promise<number> {
  if (process.platform !== 'linux' || (await isGateway(pid))) return pid
  const [child] = childrenOf(pid)
  return child === undefined ? pid : findGateway(child)
}

async function isGateway(pid: number): Promise<boolean> {
  const [program = '', script = ''] = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0')
  return /node[^/]*$/.test(program) && script.endsWith('atelier.js')
}
