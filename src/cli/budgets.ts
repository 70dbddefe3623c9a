import type { MessageInitShape } from '@bufbuild/protobuf'
import { createClient } from '@connectrpc/connect'
import { type Budget, BudgetPeriod, BudgetPeriodSchema, BudgetSchema, type BudgetSubjectSchema } from '../../gen/atelier/v1/budget_pb.ts'
import { BudgetService } from '../../gen/atelier/v1/budget_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { enumValue, wireName, wireNames } from '../contract/wire-names.ts'
import { formatUsd, parseUsd } from '../ledger/usd.ts'
import { asAdmin } from './client/admin.ts'
import { everyPage } from './client/every-page.ts'
import { formatDay } from './expiry.ts'
import { keyIdOf } from './key-id.ts'
import { printAnswer } from './print-answer.ts'
import type { Given } from './read-arguments.ts'
import { type Column, renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** `atelier budgets set <usd>` */
export function setBudget(terminal: Terminal, given: Given): Promise<number> {
  const [amount = ''] = given.arguments
  const { per, 'unknown-price': unknownPrice } = given.values
  const request = {
    subject: subjectOf(given),
    period: readPeriod(per, 'budgets set'),
    limitMicros: readAmount(amount, 'the amount', 'budgets set'),
    ...(unknownPrice !== undefined && { unknownPriceMicros: readAmount(unknownPrice, '--unknown-price', 'budgets set') })
  }
  return asAdmin(terminal, given, async (_, server) => {
    const { budget } = await server.ask(createClient(BudgetService, server.transport).setBudget(request))
    return tell(terminal, given, budget, `${describeBudget(budget)} Every process follows within about a second.`)
  })
}

/** `atelier budgets list` */
export function listBudgets(terminal: Terminal, given: Given): Promise<number> {
  const { org = '' } = given.values
  return asAdmin(terminal, given, async (_, server) => {
    const client = createClient(BudgetService, server.transport)
    const budgets = await everyPage(
      async (page) => await server.ask(client.listBudgets({ ...page, organizationId: org })),
      (page) => page.budgets
    )
    const json = { budgets: budgets.map((budget) => encodeMessage(BudgetSchema, budget)) }
    return printAnswer(terminal, given, json, renderTable(budgets, columns))
  })
}

/** `atelier budgets delete <id>` */
export function deleteBudget(terminal: Terminal, given: Given): Promise<number> {
  const [id = ''] = given.arguments
  return asAdmin(terminal, given, async (_, server) => {
    await server.ask(createClient(BudgetService, server.transport).deleteBudget({ id }))
    const text = `The budget ${id} is deleted; every process follows within about a second.`
    return printAnswer(terminal, given, {}, text)
  })
}

/** `day`, `month` or `total`; a month where nothing is said. Throws UsageError. */
export function readPeriod(text: string | undefined, command: string): BudgetPeriod {
  const period = text === undefined ? BudgetPeriod.MONTH : enumValue(BudgetPeriodSchema, text)
  if (period === undefined) throw new UsageError(`--per knows ${wireNames(BudgetPeriodSchema).join(', ')}, not ${text}`, command)
  return period
}

/** An amount in USD, in micro-USD. Throws UsageError. */
export function readAmount(text: string, name: string, command: string): bigint {
  const micros = parseUsd(text)
  if (micros === undefined) throw new UsageError(`${name} must be in USD, such as 5 or 0.25, not ${text}`, command)
  return BigInt(micros)
}

/** One sentence. */
export function describeBudget(budget: Budget | undefined): string {
  if (!budget) return 'The budget is set.'
  const { limitMicros, usedMicros, resetsAt } = budget
  const renewal = resetsAt === undefined ? '' : ` and it begins anew on ${formatDay(Number(resetsAt))}`
  return `The budget ${budget.id} for ${subjectText(budget)} is ${formatUsd(limitMicros)} ${periodTexts[budget.period]}; ${formatUsd(usedMicros)} is used${renewal}.`
}

const columns: readonly Column<Budget>[] = [
  { title: 'ID', text: ({ id }) => id },
  { title: 'FOR', text: subjectText, cut: true },
  { title: 'PER', text: ({ period }) => wireName(BudgetPeriodSchema, period) ?? '' },
  { title: 'LIMIT', text: ({ limitMicros }) => formatUsd(limitMicros) },
  { title: 'USED', text: ({ usedMicros }) => formatUsd(usedMicros) }
]

const periodTexts: Readonly<Record<number, string>> = {
  [BudgetPeriod.DAY]: 'a day',
  [BudgetPeriod.MONTH]: 'a month',
  [BudgetPeriod.TOTAL]: 'in total'
}

function subjectText({ subject }: Budget): string {
  const { case: kind, value } = subject?.subject ?? {}
  return kind === 'organizationId' ? `org ${value}` : kind === 'apiKeyId' ? `key ${value}` : 'everything'
}

function subjectOf({ values: { org, key }, flags }: Given): MessageInitShape<typeof BudgetSubjectSchema> {
  const isAll = flags.has('all')
  if ([org !== undefined, key !== undefined, isAll].filter(Boolean).length !== 1) {
    throw new UsageError('budgets set needs one of --org, --key and --all, which say whose requests it is for', 'budgets set')
  }
  if (org !== undefined) return { subject: { case: 'organizationId', value: org } }
  if (key !== undefined) return { subject: { case: 'apiKeyId', value: keyIdOf(key) } }
  return { subject: { case: 'everything', value: true } }
}

function tell(terminal: Terminal, given: Given, budget: Budget | undefined, sentence: string): number {
  const json = budget && encodeMessage(BudgetSchema, budget)
  return printAnswer(terminal, given, json, sentence)
}
