import { parseArgs } from 'node:util'
import { runChaos } from './run-chaos.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    engine: { type: 'string', default: 'both' },
    'database-kills': { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) }
  }
})

const print = (line: string) => process.stdout.write(`${line}\n`)

let isBroken = false
for (const engine of ['sqlite', 'postgres'] as const) {
  if (values.engine !== 'both' && values.engine !== engine) continue
  print(`${engine}, ${values.kills} kills, seed ${values.seed}`)
  const begunAt = performance.now()
  const report = await runChaos({
    engine,
    kills: Number(values.kills),
    databaseKills: engine === 'postgres' ? Number(values['database-kills']) : 0,
    seed: Number(values.seed),
    log: (line) => print(`  ${line}`)
  })
  print(JSON.stringify(report, null, 2))
  const broken = [report.paidTwice, report.lost, report.unfinished, report.changedReplays, report.ledgerProblems].flat()
  print(`${engine}: ${broken.length} broken promises in ${Math.round((performance.now() - begunAt) / 1000)} s`)
  isBroken ||= broken.length > 0
}
process.exit(isBroken ? 1 : 0)
