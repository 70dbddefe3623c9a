import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { drawChart } from './chart.ts'
import { judge } from './goals.ts'
import { describeMachine } from './machine.ts'
import { type Measurement, measure } from './measure.ts'
import { type Report, renderReport } from './report.ts'
import { quick, scenarios } from './scenarios.ts'
import { measureStartup } from './startup.ts'
import { type TargetName, targets } from './targets.ts'

const usage = `Usage: npm run bench -- [options]

  --scenario NAME   only this one, may be repeated: ${scenarios.map(({ name }) => name).join(', ')}, startup
  --target NAME     only this one, may be repeated: ${targets.map(({ name }) => name).join(', ')}
  --quick           short bursts, to see that everything works; the figures mean nothing
  --out FILE        where to write the figures as JSON (bench/results/<time>.json)
  --profile DIR     leave CPU profiles of this gateway in that directory, for Chrome's developer tools
  --chart           draw docs/benchmark.svg from this run

Scenario guarded measures a gateway with durable tasks, embedded, whose every request is under an organization's and a key's rate limits (requests,
images, cost, in flight) and budgets and under the monthly budget, none of which it reaches, with metadata for the usage: 64 requests in flight,
compared with the bare proxy. Scenario postgres measures the same gateway on PostgreSQL for 60 s: requests per second and errors, with client,
upstream, database, bucket and gateway on this machine. It needs PostgreSQL's programs and \`npm run install:clients\`.
`

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', multiple: true },
    target: { type: 'string', multiple: true },
    quick: { type: 'boolean', default: false },
    out: { type: 'string' },
    profile: { type: 'string' },
    chart: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false }
  }
})

if (values.help) process.stdout.write(usage)
else process.exitCode = await run()

/** 0 where every answer was whole and right. */
async function run(): Promise<number> {
  const unknown = [
    ...(values.scenario ?? []).filter((name) => name !== 'startup' && !scenarios.some((scenario) => scenario.name === name)),
    ...(values.target ?? []).filter((name) => !targets.some((target) => target.name === name))
  ]
  if (unknown.length > 0) {
    process.stderr.write(`there is no ${unknown.join(', ')}\n\n${usage}`)
    return 2
  }
  const report = await collect()
  process.stdout.write(`${renderReport(report, scenarios)}\n`)
  const at = report.at.replace(/\D/g, '').slice(0, 14)
  await save(values.out ?? join(import.meta.dirname, `results/${at}.json`), `${JSON.stringify(report, null, 2)}\n`)
  if (values.chart) await save(join(import.meta.dirname, '../docs/benchmark.svg'), drawChart(report))
  return report.measurements.some(({ errors }) => errors > 0) ? 1 : 0
}

async function collect(): Promise<Report> {
  const chosen = scenarios.filter(({ name }) => values.scenario?.includes(name) ?? true)
  const startsUp = values.scenario?.includes('startup') ?? true
  const takesPart = (name: TargetName) => chosen.some((scenario) => scenario.targets.includes(name)) || (startsUp && name === 'atelier')
  const wanted = targets.filter(({ name }) => (values.target?.includes(name) ?? true) && takesPart(name))
  const missing = new Map(wanted.map((target) => [target.name, target.unavailable()]))
  const present = wanted.filter(({ name }) => missing.get(name) === undefined)
  const measurements: Measurement[] = []
  const options = {
    report: (line: string) => void process.stderr.write(`${line}\n`),
    ...(values.profile === undefined ? {} : { profileDirectory: values.profile })
  }
  for (const scenario of chosen) {
    const entrants = present.filter(({ name }) => scenario.targets.includes(name))
    if (entrants.length > 0) measurements.push(...(await measure(values.quick ? quick(scenario) : scenario, entrants, options)))
  }
  const startup =
    startsUp && present.some(({ name }) => name === 'atelier')
      ? await measureStartup(values.quick ? { starts: 1, idleMs: 100 } : { starts: 5, idleMs: 3_000 })
      : undefined
  return {
    at: new Date().toISOString(),
    machine: describeMachine(),
    quick: values.quick,
    targets: Object.fromEntries(wanted.map((target) => [target.name, missing.get(target.name) ?? target.describe()])),
    measurements,
    ...(startup ? { startup } : {}),
    goals: judge(measurements, startup)
  }
}

async function save(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, text)
  process.stderr.write(`wrote ${file}\n`)
}
