import { ConfigError } from '../config/config-error.ts'
import { type CommandArguments, type Given, readArguments } from './read-arguments.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/**
 * Runs the command that the arguments name, `serve` where they name none, and resolves to the exit code: 0, 1 for a failure, 2 for
 * arguments that make no sense. Never rejects.
 */
export async function runCli(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    const { command, topic, wish, given } = readArguments(args, commands)
    if (wish === 'version') return await commands.version.run(terminal)
    if (wish === 'help') return await (await import('./help.ts')).printHelp(terminal, topic)
    const chosen: Command = commands[command]
    return await chosen.run(terminal, given)
  } catch (error) {
    const { exitCode, text } = explain(error)
    terminal.stderr.write(`${text}\n`)
    return exitCode
  }
}

interface Command extends CommandArguments {
  run(terminal: Terminal, given: Given): Promise<number>
}

const none = { arguments: [], options: [] } as const
const keyOptions = ['name', 'expires', 'scopes', 'models', 'providers', 'url', 'json'] as const

const usageOptions = ['org', 'key', 'provider', 'model', 'user', 'from', 'to', 'format', 'url', 'json'] as const

/** Each command loads only what it needs: help must not wait for a database driver. */
const commands = {
  serve: { ...none, run: async (terminal) => (await import('./serve.ts')).serve(terminal) },
  'check-config': { ...none, run: async (terminal) => (await import('./check-config.ts')).checkConfig(terminal) },
  'new-key': {
    arguments: [],
    options: ['admin'],
    run: async (terminal, { flags }) => (await import('./new-key.ts')).newKey(terminal, { admin: flags.has('admin') })
  },
  'callback-secret': {
    arguments: [],
    options: ['rotate', 'org'],
    run: async (terminal, { flags, values }) =>
      (await import('./callback-secret.ts')).callbackSecret(terminal, { rotate: flags.has('rotate'), organizationId: values.org })
  },
  'orgs create': {
    arguments: ['<id>'],
    options: ['name', 'platform-keys', 'url', 'json'],
    run: async (terminal, given) => (await import('./orgs.ts')).createOrganization(terminal, given)
  },
  'orgs update': {
    arguments: ['<id>'],
    options: ['name', 'platform-keys', 'url', 'json'],
    run: async (terminal, given) => (await import('./orgs.ts')).updateOrganization(terminal, given)
  },
  'orgs list': {
    arguments: [],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./orgs.ts')).listOrganizations(terminal, given)
  },
  'orgs disable': {
    arguments: ['<id>'],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./orgs.ts')).switchOrganization(terminal, given, { disabled: true })
  },
  'orgs enable': {
    arguments: ['<id>'],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./orgs.ts')).switchOrganization(terminal, given, { disabled: false })
  },
  'keys create': {
    arguments: [],
    options: ['org', 'budget', 'per', ...keyOptions],
    run: async (terminal, given) => (await import('./keys.ts')).createKey(terminal, given)
  },
  'keys list': {
    arguments: [],
    options: ['org', 'all', 'url', 'json'],
    run: async (terminal, given) => (await import('./keys.ts')).listKeys(terminal, given)
  },
  'keys update': {
    arguments: ['<id>'],
    options: keyOptions,
    run: async (terminal, given) => (await import('./keys.ts')).updateKey(terminal, given)
  },
  'keys revoke': {
    arguments: ['<id>'],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./keys.ts')).revokeKey(terminal, given)
  },
  'credentials set': {
    arguments: ['<provider>'],
    ifMore: 'takes the provider alone: the key comes from a pipe, or is asked for',
    options: ['org', 'name', 'weight', 'keep-key', 'url', 'json'],
    run: async (terminal, given) => (await import('./credentials.ts')).setCredential(terminal, given)
  },
  'credentials list': {
    arguments: [],
    options: ['org', 'url', 'json'],
    run: async (terminal, given) => (await import('./credentials.ts')).listCredentials(terminal, given)
  },
  'credentials delete': {
    arguments: ['<id>'],
    options: ['org', 'url', 'json'],
    run: async (terminal, given) => (await import('./credentials.ts')).deleteCredential(terminal, given)
  },
  'limits set': {
    arguments: ['<amount>', '<metric>'],
    options: ['per', 'org', 'key', 'model', 'url', 'json'],
    run: async (terminal, given) => (await import('./limits.ts')).setLimit(terminal, given)
  },
  'limits list': {
    arguments: [],
    options: ['org', 'key', 'url', 'json'],
    run: async (terminal, given) => (await import('./limits.ts')).listLimits(terminal, given)
  },
  'limits delete': {
    arguments: ['<id>'],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./limits.ts')).deleteLimit(terminal, given)
  },
  usage: {
    arguments: [],
    options: ['by', ...usageOptions],
    run: async (terminal, given) => (await import('./usage.ts')).showUsage(terminal, given)
  },
  'usage export': {
    arguments: [],
    options: usageOptions,
    run: async (terminal, given) => (await import('./usage-export.ts')).exportUsage(terminal, given)
  },
  'budgets set': {
    arguments: ['<usd>'],
    options: ['per', 'org', 'key', 'all', 'unknown-price', 'url', 'json'],
    run: async (terminal, given) => (await import('./budgets.ts')).setBudget(terminal, given)
  },
  'budgets list': {
    arguments: [],
    options: ['org', 'url', 'json'],
    run: async (terminal, given) => (await import('./budgets.ts')).listBudgets(terminal, given)
  },
  'budgets delete': {
    arguments: ['<id>'],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./budgets.ts')).deleteBudget(terminal, given)
  },
  'policy set': {
    arguments: [],
    options: ['org', 'block-file', 'moderation-url', 'moderation-model', 'moderation-timeout', 'with-key', 'fail', 'url', 'json'],
    run: async (terminal, given) => (await import('./policy.ts')).setPolicy(terminal, given)
  },
  'policy show': {
    arguments: [],
    options: ['org', 'url', 'json'],
    run: async (terminal, given) => (await import('./policy.ts')).showPolicy(terminal, given)
  },
  'policy list': {
    arguments: [],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./policy.ts')).listPolicies(terminal, given)
  },
  'policy delete': {
    arguments: [],
    options: ['org', 'url', 'json'],
    run: async (terminal, given) => (await import('./policy.ts')).deletePolicy(terminal, given)
  },
  'master-key status': {
    arguments: [],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./master-key.ts')).showMasterKeys(terminal, given)
  },
  'master-key rotate': {
    arguments: [],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./master-key.ts')).rotateMasterKey(terminal, given)
  },
  'master-key reseal': {
    arguments: [],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./master-key.ts')).resealStored(terminal, given)
  },
  models: {
    arguments: [],
    options: ['url', 'json'],
    run: async (terminal, given) => (await import('./models.ts')).listModels(terminal, given)
  },
  generate: {
    arguments: ['<prompt>'],
    options: ['output', 'model', 'size', 'quality', 'previews', 'url', 'json'],
    run: async (terminal, given) => (await import('./generate.ts')).generate(terminal, given)
  },
  help: { ...none, run: async (terminal, given) => (await import('./help.ts')).printHelp(terminal, given.arguments.join(' ')) },
  version: { ...none, run: async (terminal) => (await import('./help.ts')).printVersion(terminal) }
} as const satisfies Record<string, Command>

function explain(error: unknown): { exitCode: number; text: string } {
  if (error instanceof UsageError) {
    const more = error.command === '' ? '`atelier help` lists the commands.' : `\`atelier help ${error.command}\` tells more.`
    return { exitCode: 2, text: `atelier: ${error.message}\n${more}` }
  }
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
