import { parseArgs } from 'node:util'
import { ConfigError } from '../config/config-error.ts'
import { nearest } from '../config/nearest.ts'
import type { Terminal } from './terminal.ts'

/**
 * Runs the command that the arguments name, `serve` where they name none, and resolves to the exit code: 0, 1 for a failure, 2 for
 * arguments that make no sense. Never rejects.
 */
export async function runCli(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    return await run(readArguments(args), terminal)
  } catch (error) {
    const { exitCode, text } = explain(error)
    terminal.stderr.write(`${text}\n`)
    return exitCode
  }
}

type Command = 'serve' | 'check-config' | 'new-key' | 'help' | 'version'

interface Invocation {
  command: Command
  admin: boolean
}

/** Options beyond --help and --version, which go with every command. */
const optionsOf: Record<Command, readonly string[]> = { serve: [], 'check-config': [], 'new-key': ['admin'], help: [], version: [] }

async function run({ command, admin }: Invocation, terminal: Terminal): Promise<number> {
  // Each command loads only what it needs: help must not wait for a database driver.
  switch (command) {
    case 'serve':
      return (await import('./serve.ts')).serve(terminal)
    case 'check-config':
      return (await import('./check-config.ts')).checkConfig(terminal)
    case 'new-key':
      return (await import('./new-key.ts')).newKey(terminal, { admin })
    case 'help':
      return (await import('./help.ts')).printHelp(terminal)
    case 'version':
      return (await import('./help.ts')).printVersion(terminal)
  }
}

function readArguments(args: readonly string[]): Invocation {
  const { tokens } = parseArgs({
    args: [...args],
    options: { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'v' }, admin: { type: 'boolean' } },
    strict: false,
    tokens: true
  })
  const words = tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : []))
  const options = tokens.filter((token) => token.kind === 'option')
  const command = readCommand(words)
  for (const option of options) {
    const known = ['help', 'version', ...optionsOf[command]]
    if (!known.includes(option.name)) throw new UsageError(`${command} has no option ${option.rawName}${suggest(option.name, known, '--')}`)
    if (option.value !== undefined) throw new UsageError(`${option.rawName} takes no value`)
  }
  const names = options.map((option) => option.name)
  return { command: names.includes('help') ? 'help' : names.includes('version') ? 'version' : command, admin: names.includes('admin') }
}

function readCommand(words: readonly string[]): Command {
  const [word = 'serve', excess] = words
  const commands = Object.keys(optionsOf) as Command[]
  const command = commands.find((candidate) => candidate === word)
  if (command === undefined) throw new UsageError(`there is no command ${word}${suggest(word, commands, '')}`)
  if (excess !== undefined && command !== 'help') throw new UsageError(`${command} takes no argument, and there is ${excess}`)
  return command
}

function suggest(word: string, known: readonly string[], prefix: string): string {
  const guess = nearest(word, known)
  return guess === undefined ? '' : `; did you mean ${prefix}${guess}?`
}

class UsageError extends Error {}

function explain(error: unknown): { exitCode: number; text: string } {
  if (error instanceof UsageError) return { exitCode: 2, text: `atelier: ${error.message}\n\`atelier help\` lists the commands.` }
  if (error instanceof ConfigError)
    return { exitCode: 1, text: `atelier: the configuration has ${count(error.problems)}\n${error.problems.join('\n')}` }
  if (error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND') {
    return { exitCode: 1, text: `atelier: a part is missing; \`npm ci\` installs it: ${error.message}` }
  }
  return { exitCode: 1, text: `atelier: ${isFault(error) ? error.stack : error instanceof Error ? error.message : String(error)}` }
}

function count(problems: readonly string[]): string {
  return problems.length === 1 ? 'a problem:' : `${problems.length} problems:`
}

/** Errors that the language throws are mistakes of ours, for which the stack is wanted; what we throw says what the user can do. */
function isFault(error: unknown): error is Error {
  return error instanceof TypeError || error instanceof ReferenceError || error instanceof SyntaxError
}
