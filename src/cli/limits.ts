import { createClient } from '@connectrpc/connect'
import { type RateLimit, RateLimitMetric, RateLimitSchema } from '../../gen/atelier/v1/rate_limit_pb.ts'
import { RateLimitService } from '../../gen/atelier/v1/rate_limit_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { formatUsd, parseUsd } from '../ledger/usd.ts'
import { asAdmin } from './client/admin.ts'
import { everyPage } from './client/every-page.ts'
import { parseDuration, unitSeconds } from './duration.ts'
import { keyIdOf } from './key-id.ts'
import { printAnswer } from './print-answer.ts'
import type { Given } from './read-arguments.ts'
import { renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** `atelier limits set <amount> <metric>`, e.g. `atelier limits set 60 requests --per minute --org acme` */
export function setLimit(terminal: Terminal, given: Given): Promise<number> {
  const [amountText = '', metricText = ''] = given.arguments
  const { org, key, per, model = '' } = given.values
  const metric = readMetric(metricText)
  const subject = readSubject(org, key)
  const request = { subject, metric, amount: readAmount(amountText, metric), windowSeconds: readWindow(per, metric), model }
  return asAdmin(terminal, given, async (_, server) => {
    const { rateLimit } = await server.ask(createClient(RateLimitService, server.transport).setRateLimit(request))
    const json = rateLimit && encodeMessage(RateLimitSchema, rateLimit)
    const sentence = `The limit ${rateLimit?.id} holds; every process follows within about a second.`
    return printAnswer(terminal, given, json, sentence)
  })
}

/** `atelier limits list` */
export function listLimits(terminal: Terminal, given: Given): Promise<number> {
  const { org = '', key = '' } = given.values
  return asAdmin(terminal, given, async (_, server) => {
    const client = createClient(RateLimitService, server.transport)
    const limits = await everyPage(
      async (page) => await server.ask(client.listRateLimits({ ...page, organizationId: org, apiKeyId: keyIdOf(key) })),
      (page) => page.rateLimits
    )
    const json = { rate_limits: limits.map((limit) => encodeMessage(RateLimitSchema, limit)) }
    const table = renderTable(limits, [
      { title: 'ID', text: ({ id }) => id },
      { title: 'ORG', text: ({ organizationId }) => organizationId, cut: true },
      { title: 'KEY', text: ({ apiKeyId }) => apiKeyId || 'all' },
      { title: 'LIMIT', text: describe },
      { title: 'MODEL', text: ({ model }) => model || 'all', cut: true }
    ])
    return printAnswer(terminal, given, json, table)
  })
}

/** `atelier limits delete <id>` */
export function deleteLimit(terminal: Terminal, given: Given): Promise<number> {
  const [id = ''] = given.arguments
  return asAdmin(terminal, given, async (_, server) => {
    await server.ask(createClient(RateLimitService, server.transport).deleteRateLimit({ id }))
    return printAnswer(terminal, given, {}, `The limit ${id} is deleted.`)
  })
}

/** What people call what is counted. */
const metrics: Readonly<Record<string, RateLimitMetric>> = {
  requests: RateLimitMetric.REQUESTS,
  images: RateLimitMetric.IMAGES,
  megapixels: RateLimitMetric.MEGAPIXELS,
  usd: RateLimitMetric.COST,
  'in-flight': RateLimitMetric.IN_FLIGHT
}

const windows: Readonly<Record<string, number>> = { second: 1, minute: 60, hour: 3_600, day: 86_400 }
const windowUnits = ['s', 'm', 'h', 'd'] as const

function readMetric(text: string): RateLimitMetric {
  const metric = Object.hasOwn(metrics, text) ? metrics[text] : undefined
  if (metric === undefined) throw new UsageError(`limits can count ${Object.keys(metrics).join(', ')}, not ${text}`, 'limits set')
  return metric
}

function readSubject(org: string | undefined, key: string | undefined) {
  if (org !== undefined && key !== undefined) throw new UsageError('limits set takes --org or --key, and there are both', 'limits set')
  if (key !== undefined) return { case: 'apiKeyId', value: keyIdOf(key) } as const
  if (org !== undefined) return { case: 'organizationId', value: org } as const
  throw new UsageError('limits set needs --org or --key, which says what is limited', 'limits set')
}

/** In units of the contract: of money they are micro-USD. */
function readAmount(text: string, metric: RateLimitMetric): bigint {
  const isMoney = metric === RateLimitMetric.COST
  const amount = isMoney ? (parseUsd(text) ?? 0) : /^\d{1,12}$/.test(text) ? Number(text) : 0
  if (amount > 0) return BigInt(amount)
  const wanted = isMoney ? 'an amount in USD such as 0.50' : 'a whole number such as 60'
  throw new UsageError(`limits set needs ${wanted}, not ${text}`, 'limits set')
}

function readWindow(text: string | undefined, metric: RateLimitMetric): bigint {
  if (metric === RateLimitMetric.IN_FLIGHT) {
    if (text === undefined) return 0n
    throw new UsageError('requests in flight are counted at every moment, so --per has no meaning', 'limits set')
  }
  if (text === undefined) throw new UsageError('limits set needs --per, such as --per minute', 'limits set')
  if (Object.hasOwn(windows, text)) return BigInt(windows[text] ?? 0)
  const seconds = parseDuration(text, windowUnits)
  if (seconds !== undefined) return BigInt(seconds)
  throw new UsageError(`--per is second, minute, hour, day, or such as 30s, 15m or 6h, not ${text}`, 'limits set')
}

function describe({ metric, amount, windowSeconds }: RateLimit): string {
  if (metric === RateLimitMetric.IN_FLIGHT) return `${amount} in flight`
  const name = Object.keys(metrics).find((text) => metrics[text] === metric) ?? ''
  const count = metric === RateLimitMetric.COST ? formatUsd(amount) : `${amount} ${name}`
  return `${count}/${spellWindow(Number(windowSeconds))}`
}

function spellWindow(seconds: number): string {
  const word = Object.keys(windows).find((name) => windows[name] === seconds)
  if (word !== undefined) return word
  const unit = windowUnits.findLast((name) => seconds % unitSeconds[name] === 0) ?? 's'
  return `${seconds / unitSeconds[unit]}${unit}`
}
