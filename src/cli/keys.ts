import { type ApiKey, ApiKeySchema, type ApiKeyScope, ApiKeyScopeSchema } from '../../gen/atelier/v1/api_key_pb.ts'
import { parseApiKey } from '../admission/api-key.ts'
import { encodeMessage } from '../contract/json.ts'
import { enumValue, wireName, wireNames } from '../contract/wire-names.ts'
import { asAdmin } from './client/admin.ts'
import { everyPage } from './client/every-page.ts'
import { formatDay, readExpiry } from './expiry.ts'
import type { Given } from './read-arguments.ts'
import { type Column, renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** `atelier keys create`: the key alone goes to standard output, so that scripts can use it. */
export function createKey(terminal: Terminal, given: Given): Promise<number> {
  const { name, org = '', expires = 'never', scopes, models, providers } = given.values
  if (name === undefined) throw new UsageError('keys create needs --name, which says what the key is for', 'keys create')
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
    if (given.flags.has('json')) {
      terminal.stdout.write(`${JSON.stringify({ ...(apiKey && encodeMessage(ApiKeySchema, apiKey)), key }, undefined, 2)}\n`)
      return 0
    }
    terminal.stdout.write(`${key}\n`)
    const until = apiKey?.expiresAt === undefined ? 'does not expire' : `expires on ${formatDay(Number(apiKey.expiresAt))}`
    terminal.stderr.write(
      `This is the API key ${apiKey?.id} of ${apiKey?.organizationId} for ${name}. It ${until}, and is not shown again.\n`
    )
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
    terminal.stdout.write(given.flags.has('json') ? `${JSON.stringify(json, undefined, 2)}\n` : renderTable(keys, shown))
    return 0
  })
}

/** `atelier keys update <id>` */
export function updateKey(terminal: Terminal, given: Given): Promise<number> {
  const { name, expires, scopes, models, providers } = given.values
  const id = idOf(given)
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
  const id = idOf(given)
  return asAdmin(terminal, given, async (admin, server) => {
    const { apiKey } = await server.ask(admin.revokeApiKey({ id }))
    return tell(terminal, given, apiKey, `The API key ${id} is revoked; every process refuses it within about a second.`)
  })
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

/** Whoever finds a key that has leaked may name it as it is: it never leaves this process. */
function idOf(given: Given): string {
  const [text = ''] = given.arguments
  return parseApiKey(text)?.id ?? text
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

function tell(terminal: Terminal, { flags }: Given, key: ApiKey | undefined, sentence: string): number {
  const json = key && encodeMessage(ApiKeySchema, key)
  terminal.stdout.write(flags.has('json') ? `${JSON.stringify(json, undefined, 2)}\n` : `${sentence}\n`)
  return 0
}
