import { spawn } from 'node:child_process'
import { buffer, text } from 'node:stream/consumers'

export interface CommandResult {
  /** Exit code, or the signal that ended it. */
  code: number | NodeJS.Signals
  stdout: Buffer
  stderr: string
}

/** Runs a program to its end. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: { input?: string | Uint8Array; directory?: string; environment?: Record<string, string> } = {}
): Promise<CommandResult> {
  const child = spawn(command, args, {
    ...(options.directory === undefined ? {} : { cwd: options.directory }),
    env: { ...process.env, ...options.environment }
  })
  child.stdin.on('error', () => {})
  child.stdin.end(options.input)
  const code = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => resolve(status ?? signal ?? 0))
  })
  const [stdout, stderr] = await Promise.all([buffer(child.stdout), text(child.stderr), code])
  return { code: await code, stdout, stderr }
}
