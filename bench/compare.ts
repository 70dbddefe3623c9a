import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import type { Measurement } from './measure.ts'
import type { Report } from './report.ts'

const usage = `Usage: node bench/compare.ts OLD.json NEW.json [--threshold 1.15]

Compares this gateway in two results of \`npm run bench\` and ends with 1 where something has become worse than the threshold allows.
Where both runs hold the bare proxy, figures are divided by its own first, so that a faster or busier machine makes no difference.
`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { threshold: { type: 'string', default: '1.15' }, help: { type: 'boolean', short: 'h', default: false } }
})
const [oldFile, newFile] = positionals
const threshold = Number(values.threshold)

if (values.help) process.stdout.write(usage)
else if (oldFile === undefined || newFile === undefined || positionals.length > 2 || !(threshold > 0)) {
  process.stderr.write(usage)
  process.exitCode = 2
} else process.exitCode = compare(await read(oldFile), await read(newFile))

/** 0 where nothing is worse, 1 where something is, 2 where there is nothing to compare. */
function compare(before: Report, after: Report): number {
  const changes = after.measurements.filter(({ target }) => target.startsWith('atelier')).flatMap((now) => changesOf(now, before, after))
  for (const { what, was, is } of changes) {
    const ratio = is / was
    const verdict = ratio > threshold ? '  WORSE' : ''
    process.stdout.write(
      `${what.padEnd(48)} ${was.toPrecision(3).padStart(8)} -> ${is.toPrecision(3).padStart(8)}  x${ratio.toFixed(2)}${verdict}\n`
    )
  }
  if (changes.length === 0) {
    process.stderr.write('the two results have no measurement in common\n')
    return 2
  }
  return changes.some(({ was, is }) => is / was > threshold) ? 1 : 0
}

interface Change {
  what: string
  was: number
  is: number
}

function changesOf(now: Measurement, before: Report, after: Report): Change[] {
  const then = find(before, now.scenario, now.target)
  if (!then) return []
  const [bareThen, bareNow] = [find(before, now.scenario, 'bare'), find(after, now.scenario, 'bare')]
  const figures = ['cpuMsPerRequest', 'peakRssMB'] as const
  return figures.flatMap((figure) => {
    const [was, is] = [then[figure], now[figure]]
    if (was === undefined || is === undefined) return []
    const [baseThen, baseNow] = [bareThen?.[figure], bareNow?.[figure]]
    const setting = now.target === 'atelier-tasks' ? ', tasks on,' : ''
    const name = `${now.scenario}${setting} ${figure === 'peakRssMB' ? 'peak memory' : 'CPU per request'}`
    if (baseThen === undefined || baseNow === undefined) return [{ what: `${name}, ${figure === 'peakRssMB' ? 'MB' : 'ms'}`, was, is }]
    return [{ what: `${name}, to bare`, was: was / baseThen, is: is / baseNow }]
  })
}

function find(report: Report, scenario: Measurement['scenario'], target: Measurement['target']): Measurement | undefined {
  return report.measurements.find((measurement) => measurement.scenario === scenario && measurement.target === target)
}

async function read(file: string): Promise<Report> {
  return JSON.parse(await readFile(file, 'utf8'))
}
