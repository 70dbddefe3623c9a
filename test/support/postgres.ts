import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync } from 'node:fs'
import { chown, readdir, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from 'pg'
import { runCommand } from './run-command.ts'
import { createTemporaryDirectory } from './temporary-directory.ts'

export interface PostgresCluster extends AsyncDisposable {
  /** Address of a database of the cluster, over a Unix socket. Unset: the one that has nothing to do with any test. */
  url(database?: string): string
  /** Makes an empty database and returns its address. */
  createDatabase(options?: { icuLocale?: string }): Promise<string>
  /** `fast` ends the sessions and writes a checkpoint; `immediate` leaves at once, and the next start recovers. */
  stop(mode: 'fast' | 'immediate'): Promise<void>
  start(): Promise<void>
  restart(mode: 'fast' | 'immediate'): Promise<void>
  /** Kills the server and all its children with SIGKILL. */
  kill9(): Promise<void>
}

/** A PostgreSQL server with its own data in a temporary directory, as safe against a crash as one in production. `settings` go before its own. */
export async function startPostgres({ settings: given = [] }: { settings?: readonly string[] } = {}): Promise<PostgresCluster> {
  const directory = await createTemporaryDirectory()
  const data = join(directory.path, 'data')
  const user = await serverUser()
  if (user !== undefined) await chown(directory.path, user.uid, user.gid)
  await run(findProgram('initdb'), ['-D', data, '-U', 'atelier', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'])
  const postgres = findProgram('postgres')
  let server: ChildProcess | undefined
  let databases = 0
  const cluster: PostgresCluster = {
    url: (database = 'postgres') => `postgres://atelier@/${database}?host=${encodeURIComponent(directory.path)}`,
    async createDatabase({ icuLocale } = {}) {
      const name = `test_${++databases}`
      const locale = icuLocale === undefined ? '' : ` template template0 locale_provider icu icu_locale '${icuLocale}'`
      await using client = await connect(cluster.url())
      await client.query(`create database ${name}${locale}`)
      return cluster.url(name)
    },
    async start() {
      const deadlineMs = Date.now() + 20_000
      // Children of a killed server hold on to its shared memory for a moment.
      while (!(await tryToStart())) {
        if (Date.now() > deadlineMs) throw new Error('the PostgreSQL server does not start')
        await wait(50)
      }
    },
    stop: (mode) => end((child) => child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT')),
    async restart(mode) {
      await cluster.stop(mode)
      await cluster.start()
    },
    kill9: () => end((child, children) => [child.pid, ...children].forEach(kill)),
    async [Symbol.asyncDispose]() {
      await cluster.stop('immediate')
      await directory[Symbol.asyncDispose]()
    }
  }
  await cluster.start()
  return cluster

  async function tryToStart(): Promise<boolean> {
    const settings = [
      'listen_addresses=',
      'shared_buffers=32MB',
      'max_connections=200',
      'deadlock_timeout=100ms',
      'lc_messages=C',
      ...given
    ]
    const args = ['-D', data, '-k', directory.path, ...settings.flatMap((setting) => ['-c', setting])]
    const child = spawn(postgres, args, { ...user, cwd: directory.path, stdio: ['ignore', 'ignore', 'pipe'] })
    const isReady = await new Promise<boolean>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', () => resolve(false))
      createInterface(child.stderr).on('line', (line) => line.includes('ready to accept connections') && resolve(true))
    })
    if (isReady) server = child
    return isReady
  }

  async function end(signal: (child: ChildProcess, children: readonly number[]) => void): Promise<void> {
    const child = server
    server = undefined
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    const children = await childrenOf(child.pid)
    const exited = once(child, 'exit')
    signal(child, children)
    await exited
  }

  async function run(program: string, args: readonly string[]): Promise<void> {
    const child = spawn(program, args, { ...user, cwd: directory.path, stdio: ['ignore', 'ignore', 'inherit'] })
    const [code] = await once(child, 'exit')
    if (code !== 0) throw new Error(`${program} failed with the exit code ${code}`)
  }
}

/** PostgreSQL refuses to run as root: then it runs as its own user, or as nobody. */
async function serverUser(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = await Promise.all(['-u', '-g'].map((option) => runCommand('id', [option, name])))
    if (uid?.code === 0 && gid?.code === 0) return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  }
  throw new Error('there is no user postgres and no user nobody to run PostgreSQL as')
}

export function isPostgresInstalled(): boolean {
  return programPath('postgres') !== undefined
}

function findProgram(name: string): string {
  const found = programPath(name)
  if (found === undefined) throw new Error(`PostgreSQL is not installed: there is no ${name}`)
  return found
}

/** Debian keeps the programs of the server off the PATH. */
function programPath(name: string): string | undefined {
  const newestFirst = globSync(`/usr/lib/postgresql/*/bin/${name}`).toSorted((one, other) => versionOf(other) - versionOf(one))
  const candidates = [...(process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, name)), ...newestFirst]
  return candidates.find((path) => existsSync(path))
}

function versionOf(path: string): number {
  return Number(/postgresql\/(\d+)/.exec(path)?.[1])
}

async function childrenOf(parent: number): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const parents = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').then(parentIn, () => undefined)))
  return pids.filter((_, index) => parents[index] === parent).map(Number)
}

/** The name of the program, in parentheses, may hold blanks. */
function parentIn(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}

function kill(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

async function connect(url: string) {
  const client = new Client(url)
  await client.connect()
  return { query: (text: string) => client.query(text), [Symbol.asyncDispose]: () => client.end() }
}
