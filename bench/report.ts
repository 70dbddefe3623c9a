import type { GoalResult } from './goals.ts'
import type { Machine } from './machine.ts'
import type { Measurement } from './measure.ts'
import type { Scenario } from './scenarios.ts'
import type { Startup } from './startup.ts'

/** One run, as it is written to a file. */
export interface Report {
  at: string
  machine: Machine
  /** Short bursts, for a smoke test: the figures mean nothing. */
  quick: boolean
  /** What each target is and has switched on; why others are missing. */
  targets: Record<string, string>
  measurements: Measurement[]
  startup?: Startup
  goals: GoalResult[]
}

/** The report as Markdown, which also reads well in a terminal. */
export function renderReport(report: Report, scenarios: readonly Scenario[]): string {
  const { machine, quick, measurements, startup, goals } = report
  const { cpu, cores, memoryGB, system, node } = machine
  return [
    `${quick ? 'A smoke test: these figures mean nothing. ' : ''}${cores} × ${cpu}, ${memoryGB} GB, ${system}, Node ${node}`,
    Object.entries(report.targets)
      .map(([name, text]) => `- ${name}: ${text}`)
      .join('\n'),
    ...scenarios.flatMap(({ name, title }) => {
      const rows = measurements.filter(({ scenario }) => scenario === name)
      return rows.length === 0 ? [] : [`**${title}** (\`${name}\`)`, table(headings, rows.map(cells)), ...problemsOf(rows)]
    }),
    ...(startup
      ? [
          `Ready ${startup.npmStartMs.toFixed(0)} ms after \`npm start\`, ${startup.nodeStartMs.toFixed(0)} ms without npm; idle memory ${shown(startup.idleRssMB, 0)} MB`
        ]
      : []),
    ...(goals.length === 0 ? [] : [table(['goal', 'measured', 'limit', ''], goals.map(goalCells))])
  ].join('\n\n')
}

const headings = ['target', 'req/s', 'p50 ms', 'p99 ms', 'CPU ms/req', 'RSS before MB', 'peak RSS MB', 'requests', 'compared', 'errors']

function cells(row: Measurement): string[] {
  return [
    row.target,
    row.perSecond.toFixed(row.perSecond < 100 ? 1 : 0),
    row.p50Ms.toFixed(1),
    row.p99Ms.toFixed(1),
    shown(row.cpuMsPerRequest, (row.cpuMsPerRequest ?? 0) < 1 ? 3 : 2),
    shown(row.startRssMB, 0),
    shown(row.peakRssMB, 0),
    String(row.requests),
    String(row.verified),
    String(row.errors)
  ]
}

function goalCells({ goal, value, limit, reached }: GoalResult): string[] {
  const measured = value >= 50 || value === 0 ? value.toFixed(0) : value.toFixed(2)
  return limit === undefined ? [goal, measured, 'no limit', ''] : [goal, measured, limit.join(' '), reached ? 'reached' : 'missed']
}

function problemsOf(rows: readonly Measurement[]): string[] {
  const lines = rows.flatMap(({ target, problems }) => problems.map((problem) => `- ${target}: ${problem}`))
  return lines.length === 0 ? [] : [lines.join('\n')]
}

function shown(value: number | undefined, digits: number): string {
  return value === undefined ? 'n/a' : value.toFixed(digits)
}

function table(head: readonly string[], rows: readonly string[][]): string {
  const widths = head.map((heading, column) => Math.max(heading.length, 3, ...rows.map((row) => row[column]?.length ?? 0)))
  const line = (texts: readonly string[]) =>
    `| ${texts.map((text, column) => (column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0))).join(' | ')} |`
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [line(head), rule, ...rows.map(line)].join('\n')
}
