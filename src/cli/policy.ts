import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import {
  type ContentPolicy,
  ContentPolicySchema,
  type ModerationEndpoint,
  type ModerationFailure,
  ModerationFailureSchema
} from '../../gen/atelier/v1/content_policy_pb.ts'
import { ContentPolicyService } from '../../gen/atelier/v1/content_policy_service_pb.ts'
import { patternProblem } from '../admission/content/blocked-patterns.ts'
import { encodeMessage } from '../contract/json.ts'
import { enumValue, wireName, wireNames } from '../contract/wire-names.ts'
import { asAdmin } from './client/admin.ts'
import { everyPage } from './client/every-page.ts'
import type { RemoteServer } from './client/server.ts'
import { formatDay } from './expiry.ts'
import { printAnswer } from './print-answer.ts'
import type { Given } from './read-arguments.ts'
import { readSecret } from './read-secret.ts'
import { renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** `atelier policy set`: what is not said stays as it is. The key of the endpoint comes from a pipe or is typed. */
export async function setPolicy(terminal: Terminal, given: Given): Promise<number> {
  const { org = 'default', 'block-file': blockFile } = given.values
  const names = ['block-file', ...moderationOptions] as const
  if (names.every((name) => given.values[name] === undefined) && !given.flags.has('with-key')) {
    throw new UsageError('policy set needs to know what to change', 'policy set')
  }
  const wanted = readModeration(given)
  const patterns = blockFile === undefined ? undefined : await readPatterns(resolve(terminal.directory, blockFile))
  const key = given.flags.has('with-key') ? await readSecret(terminal, 'key of the moderation endpoint') : undefined
  return asAdmin(terminal, given, async (_, server) => {
    const before = await find(server, org)
    const moderation = changedModeration(before, wanted, key)
    const request = {
      organizationId: org,
      blockedPatterns: patterns ?? before?.blockedPatterns ?? [],
      ...(moderation !== undefined && { moderation })
    }
    const { policy } = await server.ask(clientOf(server).setContentPolicy(request))
    return tell(terminal, given, policy, `The policy holds for ${org}; every process follows within about a second.`)
  })
}

/** `atelier policy show` */
export function showPolicy(terminal: Terminal, given: Given): Promise<number> {
  const { org = 'default' } = given.values
  return asAdmin(terminal, given, async (_, server) => {
    const { policy } = await server.ask(clientOf(server).getContentPolicy({ organizationId: org }))
    return tell(terminal, given, policy, policy === undefined ? '' : describe(policy))
  })
}

/** `atelier policy list` */
export function listPolicies(terminal: Terminal, given: Given): Promise<number> {
  return asAdmin(terminal, given, async (_, server) => {
    const policies = await readAll(server)
    const json = { policies: policies.map((policy) => encodeMessage(ContentPolicySchema, policy)) }
    const table = renderTable(policies, [
      { title: 'ORG', text: ({ organizationId }) => organizationId, cut: true },
      { title: 'BLOCKS', text: ({ blockedPatternCount }) => `${blockedPatternCount}` },
      { title: 'MODERATION', text: ({ moderation }) => moderation?.url ?? 'none', cut: true },
      { title: 'FAILS', text: ({ moderation }) => (moderation === undefined ? '' : failureName(moderation)) },
      { title: 'CHANGED', text: ({ updatedAt }) => formatDay(Number(updatedAt)) }
    ])
    return printAnswer(terminal, given, json, table)
  })
}

/** `atelier policy delete` */
export function deletePolicy(terminal: Terminal, given: Given): Promise<number> {
  const { org } = given.values
  if (org === undefined) throw new UsageError('policy delete needs --org, which says whose', 'policy delete')
  return asAdmin(terminal, given, async (_, server) => {
    await server.ask(clientOf(server).deleteContentPolicy({ organizationId: org }))
    return printAnswer(terminal, given, {}, `There is no policy for ${org} any more.`)
  })
}

const moderationOptions = ['moderation-url', 'moderation-model', 'moderation-timeout', 'fail'] as const

interface WantedEndpoint {
  url?: string
  model?: string
  timeoutMs?: number
  onFailure?: ModerationFailure
}

/** What the options say of the endpoint; null where there shall be none. */
function readModeration({ values }: Given): WantedEndpoint | null {
  const { 'moderation-url': url, 'moderation-model': model, 'moderation-timeout': timeout, fail } = values
  if (url === 'none') return null
  const onFailure = fail === undefined ? undefined : enumValue(ModerationFailureSchema, fail)
  if (fail !== undefined && onFailure === undefined) {
    throw new UsageError(`--fail knows ${wireNames(ModerationFailureSchema).join(' and ')}, not ${fail}`, 'policy set')
  }
  return {
    ...(url !== undefined && { url }),
    ...(model !== undefined && { model }),
    ...(timeout !== undefined && { timeoutMs: readTimeout(timeout) }),
    ...(onFailure !== undefined && { onFailure })
  }
}

function readTimeout(text: string): number {
  const [, amount, unit] = /^(\d{1,5})(ms|s)$/.exec(text) ?? []
  const timeoutMs = Number(amount) * (unit === 's' ? 1_000 : 1)
  if (timeoutMs >= 100 && timeoutMs <= 30_000) return timeoutMs
  throw new UsageError(`--moderation-timeout must be from 100ms to 30s, not ${text}`, 'policy set')
}

function changedModeration(before: ContentPolicy | undefined, wanted: WantedEndpoint | null, key: string | undefined) {
  if (wanted === null) return undefined
  const { url = before?.moderation?.url, model, timeoutMs, onFailure } = wanted
  const isSilent = Object.keys(wanted).length === 0 && key === undefined
  if (url === undefined && isSilent) return undefined
  if (url === undefined) throw new UsageError('the policy has no moderation endpoint: --moderation-url names one', 'policy set')
  return {
    url,
    model: model ?? before?.moderation?.model ?? '',
    timeoutMs: timeoutMs ?? before?.moderation?.timeoutMs ?? 0,
    onFailure: onFailure ?? before?.moderation?.onFailure ?? 0,
    ...(key !== undefined && { key })
  }
}

/** One word or phrase on each line; empty lines and those that begin with "#" say nothing. */
async function readPatterns(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${path} cannot be read: ${error.code}`, { cause: error })
  })
  const lines = text.split(/\r?\n/).map((line) => line.trim())
  for (const [index, line] of lines.entries()) {
    const problem = isComment(line) ? undefined : patternProblem(line)
    if (problem !== undefined) throw new Error(`line ${index + 1} of ${path} ${problem}`)
  }
  return lines.filter((line) => !isComment(line))
}

function isComment(line: string): boolean {
  return line === '' || line.startsWith('#')
}

function clientOf({ transport }: RemoteServer) {
  return createClient(ContentPolicyService, transport)
}

function find(server: RemoteServer, organizationId: string): Promise<ContentPolicy | undefined> {
  const found = clientOf(server).getContentPolicy({ organizationId })
  return server.ask(
    found.then(
      ({ policy }) => policy,
      (error: unknown) => {
        if (error instanceof ConnectError && error.code === Code.NotFound) return undefined
        throw error
      }
    )
  )
}

function readAll(server: RemoteServer): Promise<ContentPolicy[]> {
  const client = clientOf(server)
  return everyPage(
    async (page) => await server.ask(client.listContentPolicies(page)),
    (page) => page.policies
  )
}

function describe({ organizationId, blockedPatterns, moderation }: ContentPolicy): string {
  const blocks =
    blockedPatterns.length === 0 ? 'blocks no words' : `blocks${blockedPatterns.map((pattern) => `\n  ${printable(pattern)}`).join('')}`
  return `The policy for ${organizationId} ${blocks}${moderation === undefined ? '\nand asks no moderation endpoint.' : describeEndpoint(moderation)}`
}

function describeEndpoint(endpoint: ModerationEndpoint): string {
  const { url, model, hasKey, keyHint, timeoutMs } = endpoint
  const key = hasKey ? `with the key …${keyHint}` : 'without a key'
  return `\nand asks ${url}${model === '' ? '' : ` (${model})`} ${key}, for ${timeoutMs / 1_000} s at most; without an answer it fails ${failureName(endpoint)}.`
}

function failureName({ onFailure }: ModerationEndpoint): string {
  return wireName(ModerationFailureSchema, onFailure) ?? ''
}

/** What somebody else wrote must not move the cursor. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?')
}

function tell(terminal: Terminal, given: Given, policy: ContentPolicy | undefined, text: string): number {
  const json = policy && encodeMessage(ContentPolicySchema, policy)
  return printAnswer(terminal, given, json, text)
}
