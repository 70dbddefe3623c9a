import type { Measurement } from './measure.ts'
import type { ScenarioName } from './scenarios.ts'
import type { Startup } from './startup.ts'
import type { TargetName } from './targets.ts'

/** What this gateway wants to reach, and where it is. Ratios of one run count, because machines differ. */
export interface GoalResult {
  goal: string
  /** In the goal's unit. */
  value: number
  limit: number
  /** Whether `limit` is the most or the least. */
  bound: 'at most' | 'at least'
  reached: boolean
}

type Figure = 'cpuMsPerRequest' | 'peakRssMB'
type Side = [ScenarioName, TargetName]

const ratios: readonly { goal: string; figure: Figure; of: Side; to: Side; bound: GoalResult['bound']; limit: number }[] = [
  {
    goal: 'CPU of a 256 B answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['url', 'atelier'],
    to: ['url', 'bare'],
    bound: 'at most',
    limit: 3
  },
  {
    goal: "CPU of a 256 B answer, Portkey's to ours",
    figure: 'cpuMsPerRequest',
    of: ['url', 'portkey'],
    to: ['url', 'atelier'],
    bound: 'at least',
    limit: 5
  },
  {
    goal: 'CPU of a 2.2 MB answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['image', 'atelier'],
    to: ['image', 'bare'],
    bound: 'at most',
    limit: 1.3
  },
  {
    goal: "CPU of a 2.2 MB answer, Portkey's to ours",
    figure: 'cpuMsPerRequest',
    of: ['image', 'portkey'],
    to: ['image', 'atelier'],
    bound: 'at least',
    limit: 8
  },
  {
    goal: 'CPU of an 8.8 MB answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['four-images', 'atelier'],
    to: ['four-images', 'bare'],
    bound: 'at most',
    limit: 1.2
  },
  {
    goal: 'peak memory with 1,000 requests held, to bare',
    figure: 'peakRssMB',
    of: ['held', 'atelier'],
    to: ['held', 'bare'],
    bound: 'at most',
    limit: 1.5
  },
  {
    goal: 'peak memory with slow readers, to bare',
    figure: 'peakRssMB',
    of: ['slow-reader', 'atelier'],
    to: ['slow-reader', 'bare'],
    bound: 'at most',
    limit: 1.5
  },
  {
    goal: 'CPU of 2.2 MB over gRPC, to REST',
    figure: 'cpuMsPerRequest',
    of: ['grpc', 'atelier'],
    to: ['image', 'atelier'],
    bound: 'at most',
    limit: 2
  },
  {
    goal: 'CPU of 2.2 MB streamed over gRPC, to REST',
    figure: 'cpuMsPerRequest',
    of: ['grpc-stream', 'atelier'],
    to: ['image', 'atelier'],
    bound: 'at most',
    limit: 2
  }
]

/** Those goals that the measurements say something about. */
export function judge(measurements: readonly Measurement[], startup: Startup | undefined): GoalResult[] {
  const find = ([scenario, target]: Side, figure: Figure) =>
    measurements.find((measurement) => measurement.scenario === scenario && measurement.target === target)?.[figure]
  const results = ratios.flatMap(({ goal, figure, of, to, bound, limit }) => {
    const [above, below] = [find(of, figure), find(to, figure)]
    return above === undefined || below === undefined ? [] : [result(goal, above / below, bound, limit)]
  })
  if (startup) results.push(result('ms from `npm start` until ready', startup.npmStartMs, 'at most', 1000))
  if (startup?.idleRssMB !== undefined) results.push(result('MB of memory when idle', startup.idleRssMB, 'at most', 120))
  return results
}

function result(goal: string, value: number, bound: GoalResult['bound'], limit: number): GoalResult {
  return { goal, value, limit, bound, reached: bound === 'at most' ? value <= limit : value >= limit }
}
