import { createClient } from '@connectrpc/connect'
import { TaskOperationSchema } from '../../gen/atelier/v1/task_pb.ts'
import { UsageDimension, UsageDimensionSchema, type UsageGroup, type UsageSums } from '../../gen/atelier/v1/usage_pb.ts'
import { type QueryUsageResponse, UsageService } from '../../gen/atelier/v1/usage_service_pb.ts'
import { enumValue, wireName, wireNames } from '../contract/wire-names.ts'
import { formatUsd } from '../ledger/usd.ts'
import { asAdmin } from './client/admin.ts'
import { csvLine } from './csv.ts'
import type { Given } from './read-arguments.ts'
import { type Column, renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'
import { readFilter } from './usage-filter.ts'

/** `atelier usage`: what was used and what it cost, as a table, CSV or JSON. */
export function showUsage(terminal: Terminal, given: Given): Promise<number> {
  const format = readFormat(given)
  const { groupBy, metadataKey } = readDimensions(given.values.by ?? 'day')
  const filter = readFilter(given, Date.now())
  return asAdmin(terminal, given, async (_, server) => {
    const usage = createClient(UsageService, server.transport)
    const report = await server.ask(usage.queryUsage({ filter, groupBy, metadataKey, limit: mostGroups }))
    const dimensions = groupBy.map((dimension) => dimensionColumn(dimension, metadataKey))
    terminal.stdout.write(writers[format](report, dimensions))
    if (report.omittedGroups > 0) {
      terminal.stderr.write(`${report.omittedGroups} more lines are left out, those of which least was spent; the total counts them.\n`)
    }
    return 0
  })
}

const formats = ['table', 'csv', 'json'] as const
const mostGroups = 10_000

function readFormat({ flags, values: { format } }: Given): (typeof formats)[number] {
  if (flags.has('json')) return 'json'
  const known = formats.find((name) => name === (format ?? 'table'))
  if (known === undefined) throw new UsageError(`--format must be table, csv or json, not ${format}`, 'usage')
  return known
}

function readDimensions(text: string): { groupBy: UsageDimension[]; metadataKey: string } {
  let metadataKey = ''
  const groupBy = text.split(',').map((word) => {
    const [name = '', ...key] = word.trim().split(':')
    const dimension = enumValue(UsageDimensionSchema, name)
    if (dimension === undefined || (key.length > 0 && dimension !== UsageDimension.METADATA)) {
      const known = wireNames(UsageDimensionSchema).map((known) => (known === 'metadata' ? 'metadata:<key>' : known))
      throw new UsageError(`--by knows ${known.join(', ')}, not ${word.trim() || 'nothing'}`, 'usage')
    }
    if (dimension === UsageDimension.METADATA) metadataKey = key.join(':')
    if (dimension === UsageDimension.METADATA && metadataKey === '') {
      throw new UsageError('--by metadata needs the key: metadata:<key>', 'usage')
    }
    return dimension
  })
  if (groupBy.length > 3 || new Set(groupBy).size < groupBy.length) {
    throw new UsageError('--by takes up to three different words, separated by commas', 'usage')
  }
  return { groupBy, metadataKey }
}

/** A field of a line: its name for programs, its title for people, and its text. */
interface Dimension {
  name: string
  title: string
  text(group: UsageGroup): string
}

function dimensionColumn(dimension: UsageDimension, metadataKey: string): Dimension {
  const word = wireName(UsageDimensionSchema, dimension) ?? ''
  const isMetadata = dimension === UsageDimension.METADATA
  const title = (isMetadata ? metadataKey : word).toUpperCase()
  return { name: isMetadata ? `metadata.${metadataKey}` : word, title, text: (group) => textOf(dimension, group) }
}

function textOf(dimension: UsageDimension, group: UsageGroup): string {
  switch (dimension) {
    case UsageDimension.DAY:
      return group.day
    case UsageDimension.ORGANIZATION:
      return group.organizationId
    case UsageDimension.API_KEY:
      return group.apiKeyId
    case UsageDimension.PROVIDER:
      return group.provider
    case UsageDimension.MODEL:
      return group.model
    case UsageDimension.USER:
      return group.user
    case UsageDimension.OPERATION:
      return wireName(TaskOperationSchema, group.operation) ?? ''
    case UsageDimension.CREDENTIAL:
      return group.credential
    default:
      return group.metadataValue
  }
}

const writers = {
  table({ groups, total }: QueryUsageResponse, dimensions: readonly Dimension[]): string {
    const lines = groups.map((group) => ({ names: dimensions.map(({ text }) => text(group) || '-'), sums: group.sums }))
    const all = [...lines, { names: dimensions.map((_, index) => (index === 0 ? 'total' : '')), sums: total }]
    const named: Column<(typeof all)[number]>[] = dimensions.map(({ title }, index) => ({
      title,
      text: ({ names }) => names[index] ?? '',
      cut: true
    }))
    const counted = sumColumns.filter(({ always, of }) => always || (total && of(total) !== 0n))
    const summed = counted.map(({ title, of, shown = String }) => ({
      title,
      text: ({ sums }: (typeof all)[number]) => (sums ? shown(of(sums)) : '')
    }))
    return renderTable(all, [...named, ...summed])
  },
  csv({ groups }: QueryUsageResponse, dimensions: readonly Dimension[]): string {
    const header = csvLine([...dimensions.map(({ name }) => name), ...sumColumns.map(({ name }) => name), 'spent_usd'])
    const lines = groups.map((group) => {
      const { sums } = group
      const numbers = sums ? [...sumColumns.map(({ of }) => of(sums)), formatUsd(sums.spentMicros).slice(1)] : []
      return csvLine([...dimensions.map(({ text }) => text(group)), ...numbers])
    })
    return header + lines.join('')
  },
  json({ groups, total, omittedGroups }: QueryUsageResponse, dimensions: readonly Dimension[]): string {
    const sumsOf = (sums: UsageSums | undefined) =>
      Object.fromEntries(sums ? sumColumns.map(({ name, of }) => [name, Number(of(sums))]) : [])
    const lines = groups.map((group) => ({
      ...Object.fromEntries(dimensions.map(({ name, text }) => [name, text(group)])),
      ...sumsOf(group.sums)
    }))
    return `${JSON.stringify({ groups: lines, total: sumsOf(total), omitted_groups: omittedGroups }, undefined, 2)}\n`
  }
}

interface SumColumn {
  name: string
  title: string
  of(sums: UsageSums): bigint
  /** How people read it. */
  shown?(sum: bigint): string
  /** Whether it is shown to people also where it is 0. */
  always?: boolean
}

const sumColumns: readonly SumColumn[] = [
  { name: 'requests', title: 'REQUESTS', of: ({ requests }) => requests, always: true },
  { name: 'attempts', title: 'CALLS', of: ({ attempts }) => attempts, always: true },
  { name: 'images', title: 'IMAGES', of: ({ images }) => images, always: true },
  { name: 'pixels', title: 'MPIXELS', of: ({ pixels }) => pixels, shown: (pixels) => (Number(pixels) / 1e6).toFixed(1) },
  { name: 'input_tokens', title: 'TOKENS IN', of: ({ inputTokens }) => inputTokens },
  { name: 'output_tokens', title: 'OUT', of: ({ outputTokens }) => outputTokens },
  { name: 'spent_micros', title: 'SPENT', of: ({ spentMicros }) => spentMicros, shown: formatUsd, always: true },
  { name: 'reserved_micros', title: 'RESERVED', of: ({ reservedMicros }) => reservedMicros, shown: formatUsd },
  { name: 'unpriced_attempts', title: 'UNPRICED', of: ({ unpricedAttempts }) => unpricedAttempts }
]
