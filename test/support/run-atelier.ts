import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { runCli } from '../../src/cli/cli.ts'
import type { Terminal } from '../../src/cli/terminal.ts'

export const bin = fileURLToPath(new URL('../../bin/atelier.js', import.meta.url))

/** A Node on this machine that is too old to run the sources, if there is one. */
export const oldNode = ['/usr/bin/node', '/usr/local/bin/node'].find((path) => existsSync(path) && majorOf(path) < 26)

/** This Node, and an old one where there is one: every command must work from both. */
export const nodes = [process.execPath, ...(oldNode === undefined ? [] : [oldNode])]

export interface RunOptions {
  directory: string
  node?: string
  environment?: Record<string, string>
  script?: string
}

export interface Run extends AsyncDisposable {
  readonly process: ChildProcess
  readonly stdout: string
  readonly stderr: string
  readonly exit: Promise<number | NodeJS.Signals>
  /** Resolves to the first log line with this message; rejects when the process ends before. */
  logged(message: string): Promise<Record<string, unknown>>
}

/** Starts the real program as a process of its own; it is killed when the test is over. */
export function startProgram(args: readonly string[], options: RunOptions): Run {
  const environment = { PATH: process.env.PATH ?? '', ...options.environment }
  const child = spawn(options.node ?? process.execPath, [options.script ?? bin, ...args], { cwd: options.directory, env: environment })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  const exit = once(child, 'close').then(([code, signal]) => code ?? signal)
  return {
    process: child,
    get stdout() {
      return output.stdout
    },
    get stderr() {
      return output.stderr
    },
    exit,
    async logged(message) {
      for (;;) {
        const line = output.stdout.split('\n').find((text) => text.includes(`"msg":"${message}"`) && text.endsWith('}'))
        if (line !== undefined) return JSON.parse(line)
        const next = await Promise.race([once(child.stdout, 'data').then(() => 'data'), exit])
        if (next !== 'data' && !output.stdout.includes(`"msg":"${message}"`)) {
          throw new Error(`ended with ${next} before "${message}": ${output.stdout}${output.stderr}`)
        }
      }
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exit
    }
  }
}

/** Runs the real program to its end. */
export async function runProgram(args: readonly string[], options: RunOptions) {
  await using run = startProgram(args, options)
  const code = await run.exit
  return { code, stdout: run.stdout, stderr: run.stderr }
}

/** Runs a command in this process, where no process of its own is needed to see what it does. */
export async function runInProcess(args: readonly string[], terminal: Partial<Terminal> = {}) {
  const output = { stdout: '', stderr: '' }
  const code = await runCli(args, {
    environment: {},
    directory: tmpdir(),
    stdout: {
      write: (text) => {
        output.stdout += text
      }
    },
    stderr: {
      write: (text) => {
        output.stderr += text
      }
    },
    watch: () => undefined,
    ...terminal
  })
  return { code, ...output }
}

function majorOf(node: string): number {
  return Number.parseInt(execFileSync(node, ['--version'], { encoding: 'utf8' }).slice(1), 10)
}
