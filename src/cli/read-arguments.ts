import { parseArgs } from 'node:util'
import { nearest } from '../config/nearest.ts'
import { UsageError } from './usage-error.ts'

/** What a command takes. */
export interface CommandArguments {
  /** What its arguments are called, e.g. `<prompt>`; each is required. */
  arguments: readonly string[]
  options: readonly OptionName[]
  /** What to say of further arguments in place of repeating one: it may be a secret. */
  ifMore?: string
}

/** The arguments of a command as they were given. */
export interface Given {
  arguments: readonly string[]
  flags: ReadonlySet<FlagName>
  values: Readonly<Partial<Record<ValueName, string>>>
}

/** What to do: run a command, or tell about it. */
export interface Invocation<Name extends string> {
  command: Name
  /** What the words name: a command, a group of commands such as `keys`, or nothing. */
  topic: string
  wish: 'run' | 'help' | 'version'
  given: Given
}

const flagNames = ['admin', 'json', 'all', 'rotate', 'keep-key', 'with-key'] as const
const valueNames = [
  'url',
  'org',
  'name',
  'expires',
  'scopes',
  'models',
  'providers',
  'model',
  'size',
  'quality',
  'previews',
  'output',
  'weight',
  'platform-keys',
  'per',
  'budget',
  'unknown-price',
  'key',
  'by',
  'provider',
  'user',
  'from',
  'to',
  'format',
  'block-file',
  'moderation-url',
  'moderation-model',
  'moderation-timeout',
  'fail'
] as const

type FlagName = (typeof flagNames)[number]
type ValueName = (typeof valueNames)[number]
export type OptionName = FlagName | ValueName

/**
 * Finds the command that the words name, `serve` where there is none, and its options, which may stand anywhere. A command of two
 * words, such as `keys list`, stands in the table under both. Throws UsageError.
 */
export function readArguments<Name extends string>(
  args: readonly string[],
  commands: Readonly<Record<Name, CommandArguments>>
): Invocation<Name | 'serve'> {
  const { tokens } = parseArgs({ args: [...args], options: parseOptions, strict: false, tokens: true })
  const words = tokens.flatMap((token) => (token.kind === 'positional' ? [token.value] : []))
  const options = tokens.filter((token) => token.kind === 'option')
  const wanted = options.map(({ name }) => name)
  const wish = wanted.includes('help') ? 'help' : wanted.includes('version') ? 'version' : 'run'
  const { command, topic, rest } = findCommand(words, Object.keys(commands) as Name[], wish)
  const takes = Object.entries<CommandArguments>(commands).find(([name]) => name === command)?.[1] ?? { arguments: [], options: [] }
  const flags = new Set<FlagName>()
  const values: Partial<Record<ValueName, string>> = {}
  for (const option of options) {
    const { name, rawName, value } = option
    if (name === 'help' || name === 'version') continue
    const known: readonly OptionName[] = takes.options
    const own = known.find((candidate) => candidate === name)
    if (own === undefined)
      throw new UsageError(`${command} has no option ${rawName}${suggest(name, ['help', 'version', ...known], '--')}`, topic)
    if (isFlag(own)) {
      if (value !== undefined) throw new UsageError(`${rawName} takes no value`, topic)
      flags.add(own)
      continue
    }
    // The parser takes whatever comes next.
    if (value === undefined || value === '' || (!option.inlineValue && value.startsWith('-'))) {
      throw new UsageError(`${rawName} needs a value`, topic)
    }
    if (values[own] !== undefined) throw new UsageError(`${rawName} is given twice`, topic)
    values[own] = value
  }
  if (wish === 'run') checkCount(command, takes, rest)
  return { command, topic, wish, given: { arguments: rest, flags, values } }
}

const parseOptions = {
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
  ...Object.fromEntries(flagNames.map((name) => [name, { type: 'boolean' } as const])),
  ...Object.fromEntries(valueNames.map((name) => [name, { type: 'string', ...(name === 'output' && { short: 'o' }) } as const]))
} as const

function isFlag(name: OptionName): name is FlagName {
  return flagNames.some((flag) => flag === name)
}

function findCommand<Name extends string>(
  words: readonly string[],
  names: readonly Name[],
  wish: string
): { command: Name | 'serve'; topic: string; rest: readonly string[] } {
  const [first, second] = words
  if (first === undefined) return { command: 'serve', topic: '', rest: [] }
  const group = names.filter((name) => name.startsWith(`${first} `))
  const inGroup = group.find((name) => name === `${first} ${second}`)
  if (inGroup !== undefined) return { command: inGroup, topic: inGroup, rest: words.slice(2) }
  const whole = names.find((name) => name === first)
  if (whole !== undefined) return { command: whole, topic: whole, rest: words.slice(1) }
  const [leader] = group
  if (leader !== undefined) {
    if (wish === 'help') return { command: leader, topic: first, rest: [] }
    const known = group.map((name) => name.slice(first.length + 1))
    if (second === undefined) throw new UsageError(`${first} needs to know what to do: ${known.join(', ')}`, first)
    throw new UsageError(`there is no command ${first} ${second}${suggest(second, known, `${first} `)}`, first)
  }
  const firstWords = new Set(names.map((name) => name.split(' ', 1)[0] ?? name))
  throw new UsageError(`there is no command ${first}${suggest(first, [...firstWords], '')}`)
}

function checkCount(command: string, { arguments: wanted, ifMore }: CommandArguments, given: readonly string[]): void {
  // `help` tells about whatever follows it.
  if (command === 'help') return
  const missing = wanted[given.length]
  if (missing !== undefined) throw new UsageError(`${command} needs ${missing}`, command)
  const excess = given[wanted.length]
  if (excess === undefined) return
  if (ifMore !== undefined) throw new UsageError(`${command} ${ifMore}`, command)
  const most = wanted.length === 0 ? 'no argument' : wanted.length === 1 ? 'one argument' : `${wanted.length} arguments`
  throw new UsageError(`${command} takes ${most}, and there is ${excess}`, command)
}

function suggest(word: string, known: readonly string[], prefix: string): string {
  const guess = nearest(word, known)
  return guess === undefined ? '' : `; did you mean ${prefix}${guess}?`
}
