import { text } from 'node:stream/consumers'
import { askSecret } from './cli/ask-secret.ts'
import { runCli } from './cli/cli.ts'
import type { Ending } from './cli/terminal.ts'

/**
 * A supervisor, npm and the terminal may each pass on the same signal; what follows the first one this closely is no second request.
 */
const sameSignalMs = 250

// A reader that has seen enough (`atelier help | head -1`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

process.exit(
  await runCli(process.argv.slice(2), {
    environment: process.env,
    directory: process.cwd(),
    stdout: process.stdout,
    stderr: process.stderr,
    ...(process.stdin.isTTY
      ? { askSecret: (question) => askSecret(question, process.stdin, process.stderr) }
      : { readInput: () => text(process.stdin) }),
    watch
  })
)

/** Tells of the first signal and of every fault. A second signal ends the process at once. */
function watch(onEnding: (ending: Ending) => void): void {
  let firstSignalMs: number | undefined
  const onSignal = (signal: 'SIGTERM' | 'SIGINT') => {
    if (firstSignalMs === undefined) {
      firstSignalMs = performance.now()
      onEnding({ kind: 'signal', signal })
    } else if (performance.now() - firstSignalMs > sameSignalMs) process.exit(signal === 'SIGINT' ? 130 : 143)
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  process.on('uncaughtException', (error) => onEnding({ kind: 'fault', error }))
  process.on('unhandledRejection', (error) => onEnding({ kind: 'fault', error }))
}
