import { describe, expect, test } from 'vitest'
import { runChaos } from '../chaos/run-chaos.ts'

// `npm run chaos -- --kills 1000` is the long form.
describe('whatever kills the gateways under load', () => {
  test.each([
    { engine: 'sqlite', kills: 36, databaseKills: 0, seed: 20_261_120 },
    { engine: 'postgres', kills: 26, databaseKills: 2, seed: 20_261_121 }
  ] as const)(
    'on $engine no task is lost, nothing is paid twice, every task ends, and the ledger adds up',
    { timeout: 400_000 },
    async (options) => {
      const report = await runChaos({ ...options, log: () => undefined })
      const { paidTwice, lost, unfinished, changedReplays, ledgerProblems } = report
      expect({ paidTwice, lost, unfinished, changedReplays, ledgerProblems }).toEqual({
        paidTwice: [],
        lost: [],
        unfinished: [],
        changedReplays: [],
        ledgerProblems: []
      })
      expect(Object.values(report.kills).reduce((sum, count) => sum + count, 0)).toBe(options.kills)
      expect(report.databaseKills).toBe(options.databaseKills)
      // Otherwise nothing was at stake.
      expect(report.acknowledged).toBeGreaterThan(20)
      expect(report.upstreamCalls).toBeGreaterThan(60)
    }
  )
})
