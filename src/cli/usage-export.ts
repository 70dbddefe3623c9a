import { createClient } from '@connectrpc/connect'
import { TaskOperationSchema } from '../../gen/atelier/v1/task_pb.ts'
import { type LedgerEntry, LedgerEntryBasisSchema, LedgerEntryKindSchema } from '../../gen/atelier/v1/usage_pb.ts'
import { UsageService } from '../../gen/atelier/v1/usage_service_pb.ts'
import { wireName } from '../contract/wire-names.ts'
import { asAdmin } from './client/admin.ts'
import { type Cell, csvLine } from './csv.ts'
import type { Given } from './read-arguments.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'
import { readFilter } from './usage-filter.ts'

/** `atelier usage export`: every booking, oldest first, written while it is read. Bookings that are made meanwhile are left for the next time. */
export function exportUsage(terminal: Terminal, given: Given): Promise<number> {
  const format = given.flags.has('json') ? 'json' : (given.values.format ?? 'csv')
  if (format !== 'csv' && format !== 'json') throw new UsageError(`--format must be csv or json, not ${format}`, 'usage export')
  const nowMs = Date.now()
  const filter = { to: BigInt(Math.ceil(nowMs / 1000)), ...readFilter(given, nowMs) }
  const { header, line, footer } = writers[format]
  return asAdmin(terminal, given, async (_, server) => {
    const usage = createClient(UsageService, server.transport)
    terminal.stdout.write(header)
    let isFirst = true
    let pageToken = ''
    do {
      const page = await server.ask(usage.listLedgerEntries({ filter, pageSize: 1_000, pageToken }))
      const lines: string[] = []
      for (const entry of page.entries) {
        lines.push(line(entry, isFirst))
        isFirst = false
      }
      terminal.stdout.write(lines.join(''))
      pageToken = page.nextPageToken
    } while (pageToken !== '')
    terminal.stdout.write(footer)
    return 0
  })
}

interface Writer {
  header: string
  line(entry: LedgerEntry, isFirst: boolean): string
  footer: string
}

const columns: Readonly<Record<string, (entry: LedgerEntry) => Cell | boolean>> = {
  id: ({ id }) => id,
  at: ({ atMs }) => new Date(Number(atMs)).toISOString(),
  kind: ({ kind }) => wireName(LedgerEntryKindSchema, kind) ?? '',
  organization_id: ({ organizationId }) => organizationId,
  api_key_id: ({ apiKeyId }) => apiKeyId,
  task_id: ({ taskId }) => taskId,
  attempt_id: ({ attemptId }) => attemptId,
  provider: ({ provider }) => provider,
  model: ({ model }) => model,
  operation: ({ operation }) => wireName(TaskOperationSchema, operation) ?? '',
  credential: ({ credential }) => credential,
  reserved_micros: ({ reservedMicros }) => reservedMicros,
  spent_micros: ({ spentMicros }) => spentMicros,
  priced: ({ priced }) => priced,
  basis: ({ basis }) => wireName(LedgerEntryBasisSchema, basis) ?? '',
  images: ({ images }) => images,
  pixels: ({ pixels }) => pixels,
  input_tokens: ({ inputTokens }) => inputTokens,
  output_tokens: ({ outputTokens }) => outputTokens,
  user: ({ user }) => user,
  metadata: ({ metadata }) => metadata
}

const writers: Readonly<Record<'csv' | 'json', Writer>> = {
  csv: {
    header: csvLine(Object.keys(columns)),
    line: (entry) => csvLine(Object.values(columns).map((cellOf) => toCell(cellOf(entry)))),
    footer: ''
  },
  json: {
    header: '[',
    line(entry, isFirst) {
      const fields = Object.entries(columns).map(([name, cellOf]) => [name, toJson(cellOf(entry))])
      const json = { ...Object.fromEntries(fields), metadata: entry.metadata === '' ? {} : JSON.parse(entry.metadata) }
      return `${isFirst ? '' : ','}\n${JSON.stringify(json)}`
    },
    footer: '\n]\n'
  }
}

function toCell(value: Cell | boolean): Cell {
  return typeof value === 'boolean' ? String(value) : value
}

function toJson(value: Cell | boolean): string | number | boolean {
  return typeof value === 'bigint' ? Number(value) : value
}
