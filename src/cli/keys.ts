import { createClient } from '@connectrpc/connect'
import { type ApiKey, ApiKeySchema, type ApiKeyScope, ApiKeyScopeSchema } from '../../gen/atelier/v1/api_key_pb.ts'
import { type Budget, type BudgetPeriod, BudgetSchema } from '../../gen/atelier/v1/budget_pb.ts'
import { BudgetService } from '../../gen/atelier/v1/budget_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { enumValue, wireName, wireNames } from '../contract/wire-names.ts'
import { describeBudget, readAmount, readPeriod } from './budgets.ts'
import { type Admin, asAdmin } from './client/admin.ts'
import { everyPage } from './client/every-page.ts'
import type { RemoteServer } from './client/server.ts'
import { formatDay, readExpiry } from './expiry.ts'
import { keyIdOf } from './key-id.ts'
import { printAnswer } from './print-answer.ts'
import type { Given } from './read-arguments.ts'
import { type Column, renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** `atelier keys create`: the key alone goes to standard output, so that scripts can use it. */
export function createKey(terminal: Terminal, given: Given): Promise<number> {
  const { name, org = '', expires = 'never', scopes, models, providers, budget, per } = given.values
  if (name === undefined) throw new UsageError('keys create needs --name, which says what the key is for', 'keys create')
  if (per !== undefined && budget === undefined) throw new UsageError('--per is of no use without --budget', 'keys create')
  const limit =
    budget === undefined ? undefined : { micros: readAmount(budget, '--budget', 'keys create'), period: readPeriod(per, 'keys create') }
  const expiresAt = readExpiry(expires, Date.now())
  const request = {
    organizationId: org,
    name,
    scopes: readScopes(scopes),
    limits: { models: listOf(models), providers: listOf(providers) },
    ...(expiresAt !== undefined && { expiresAt: BigInt(expiresAt) })
  }
  return asAdmin(terminal, given, async (admin, server) => {
    const { apiKey, key } = await server.ask(admin.createApiKey(request)).catch((error: unknown) => {
      const isMissing = error instanceof Error && error.message === `there is no organization '${org}'`
      throw isMissing ? new Error(`${error.message}: \`atelier orgs create ${org}\` makes it`) : error
    })
    const limited = limit && apiKey && (await setBudget(apiKey.id, limit, admin, server))
    if (given.flags.has('json')) {
      const json = {
        ...(apiKey && encodeMessage(ApiKeySchema, apiKey)),
        key,
        ...(limited && { budget: encodeMessage(BudgetSchema, limited) })
      }
      terminal.stdout.write(`${JSON.stringify(json, undefined, 2)}\n`)
      return 0
    }
    terminal.stdout.write(`${key}\n`)
    const until = apiKey?.expiresAt === undefined ? 'does not expire' : `expires on ${formatDay(Number(apiKey.expiresAt))}`
    terminal.stderr.write(
      `This is the API key ${apiKey?.id} of ${apiKey?.organizationId} for ${name}. It ${until}, and is not shown again.\n`
    )
    if (limited) terminal.stderr.write(`${describeBudget(limited)}\n`)
    return 0
  })
}

/** `atelier keys list` */
export function listKeys(terminal: Terminal, given: Given): Promise<number> {
  const { org = '' } = given.values
  return asAdmin(terminal, given, async (admin, server, ownKeyId) => {
    const all = await everyPage(
      async (page) => await server.ask(admin.listApiKeys({ ...page, organizationId: org, includeInvalid: given.flags.has('all') })),
      (page) => page.apiKeys
    )
    const keys = all.filter(({ id }) => id !== ownKeyId)
    const json = { api_keys: keys.map((key) => encodeMessage(ApiKeySchema, key)) }
    const shown = org === '' ? columns : columns.filter(({ title }) => title !== 'ORG')
    return printAnswer(terminal, given, json, renderTable(keys, shown))
  })
}

/** `atelier keys update <id>` */
export function updateKey(terminal: Terminal, given: Given): Promise<number> {
  const { name, expires, scopes, models, providers } = given.values
  const id = keyIdOf(given.arguments[0] ?? '')
  if ([name, expires, scopes, models, providers].every((value) => value === undefined)) {
    throw new UsageError('keys update needs to know what to change', 'keys update')
  }
  const expiresAt = expires === undefined ? undefined : (readExpiry(expires, Date.now()) ?? 0)
  const change = {
    id,
    scopes: readScopes(scopes),
    ...(name !== undefined && { name }),
    ...(expiresAt !== undefined && { expiresAt: BigInt(expiresAt) })
  }
  return asAdmin(terminal, given, async (admin, server) => {
    const { apiKey: before } = await server.ask(admin.getApiKey({ id }))
    const limits = {
      models: models === undefined ? (before?.limits?.models ?? []) : listOf(models),
      providers: providers === undefined ? (before?.limits?.providers ?? []) : listOf(providers)
    }
    const { apiKey } = await server.ask(admin.updateApiKey({ ...change, ...((models ?? providers) !== undefined && { limits }) }))
    return tell(terminal, given, apiKey, `The API key ${id} is changed; every process follows within about a second.`)
  })
}

/** `atelier keys revoke <id>` */
export function revokeKey(terminal: Terminal, given: Given): Promise<number> {
  const id = keyIdOf(given.arguments[0] ?? '')
  return asAdmin(terminal, given, async (admin, server) => {
    const { apiKey } = await server.ask(admin.revokeApiKey({ id }))
    return tell(terminal, given, apiKey, `The API key ${id} is revoked; every process refuses it within about a second.`)
  })
}

/** A key that has no budget although it was to have one is worth nothing to anybody: it is revoked again. */
async function setBudget(
  apiKeyId: string,
  { micros: limitMicros, period }: { micros: bigint; period: BudgetPeriod },
  admin: Admin,
  server: RemoteServer
): Promise<Budget | undefined> {
  const subject = { subject: { case: 'apiKeyId', value: apiKeyId } } as const
  try {
    const budgets = createClient(BudgetService, server.transport)
    return (await server.ask(budgets.setBudget({ subject, period, limitMicros }))).budget
  } catch (error) {
    await server.ask(admin.revokeApiKey({ id: apiKeyId }))
    throw error
  }
}

const columns: readonly Column<ApiKey>[] = [
  { title: 'ID', text: ({ id }) => id },
  { title: 'ORG', text: ({ organizationId }) => organizationId, cut: true },
  { title: 'NAME', text: ({ name }) => name, cut: true },
  { title: 'SCOPES', text: ({ scopes }) => scopes.map((scope) => wireName(ApiKeyScopeSchema, scope)).join(' ') },
  { title: 'EXPIRES', text: stateOf },
  { title: 'LAST USED', text: ({ lastUsedAt }) => (lastUsedAt === undefined ? 'never' : formatDay(Number(lastUsedAt))) }
]

function stateOf({ expiresAt, revokedAt }: ApiKey): string {
  if (revokedAt !== undefined) return 'revoked'
  if (expiresAt === undefined) return 'never'
  return Number(expiresAt) * 1000 <= Date.now() ? 'expired' : formatDay(Number(expiresAt))
}

function readScopes(text: string | undefined): ApiKeyScope[] {
  return listOf(text).map((word) => {
    const scope = enumValue(ApiKeyScopeSchema, word)
    if (scope === undefined) throw new UsageError(`--scopes knows ${wireNames(ApiKeyScopeSchema).join(', ')}, not ${word}`)
    return scope
  })
}

function listOf(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}

function tell(terminal: Terminal, given: Given, key: ApiKey | undefined, sentence: string): number {
  const json = key && encodeMessage(ApiKeySchema, key)
  return printAnswer(terminal, given, json, sentence)
}
