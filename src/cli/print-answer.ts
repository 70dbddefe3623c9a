import type { Given } from './read-arguments.ts'
import type { Terminal } from './terminal.ts'

/** Prints what a command has to tell, as JSON where that is asked for, and gives back its exit code. */
export function printAnswer({ stdout }: Terminal, { flags }: Given, json: unknown, text: string): 0 {
  const told = flags.has('json') ? JSON.stringify(json ?? {}, undefined, 2) : text
  stdout.write(told.endsWith('\n') ? told : `${told}\n`)
  return 0
}
