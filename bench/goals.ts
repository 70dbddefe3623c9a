import type { Measurement } from './measure.ts'
import type { ScenarioName } from './scenarios.ts'
import type { Startup } from './startup.ts'
import type { TargetName } from './targets.ts'

/**
 * What this gateway wants to reach, and where it is. Ratios of one run count, because machines differ. Tasks are off where nothing else is
 * said.
 */
export interface GoalResult {
  goal: string
  /** In the goal's unit. */
  value: number
  /** Unset where the figure is only shown beside the others. */
  limit?: Limit
  reached?: boolean
}

type Limit = readonly ['at most' | 'at least', number]

type Figure = 'cpuMsPerRequest' | 'peakRssMB'
type Side = [ScenarioName, TargetName]

const ratios: readonly { goal: string; figure: Figure; of: Side; to: Side; limit?: Limit }[] = [
  {
    goal: 'CPU of a 256 B answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['url', 'atelier'],
    to: ['url', 'bare'],
    limit: ['at most', 3]
  },
  {
    goal: "CPU of a 256 B answer, Portkey's to ours",
    figure: 'cpuMsPerRequest',
    of: ['url', 'portkey'],
    to: ['url', 'atelier'],
    limit: ['at least', 5]
  },
  {
    goal: 'CPU of a 2.2 MB answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['image', 'atelier'],
    to: ['image', 'bare'],
    limit: ['at most', 1.3]
  },
  {
    goal: "CPU of a 2.2 MB answer, Portkey's to ours",
    figure: 'cpuMsPerRequest',
    of: ['image', 'portkey'],
    to: ['image', 'atelier'],
    limit: ['at least', 8]
  },
  {
    goal: 'CPU of an 8.8 MB answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['four-images', 'atelier'],
    to: ['four-images', 'bare'],
    limit: ['at most', 1.2]
  },
  {
    goal: 'peak memory with 1,000 requests held, to bare',
    figure: 'peakRssMB',
    of: ['held', 'atelier'],
    to: ['held', 'bare'],
    limit: ['at most', 1.5]
  },
  {
    goal: 'peak memory with slow readers, to bare',
    figure: 'peakRssMB',
    of: ['slow-reader', 'atelier'],
    to: ['slow-reader', 'bare'],
    limit: ['at most', 1.5]
  },
  {
    goal: 'CPU of 2.2 MB over gRPC, to REST',
    figure: 'cpuMsPerRequest',
    of: ['grpc', 'atelier'],
    to: ['image', 'atelier'],
    limit: ['at most', 2]
  },
  {
    goal: 'CPU of 2.2 MB streamed over gRPC, to REST',
    figure: 'cpuMsPerRequest',
    of: ['grpc-stream', 'atelier'],
    to: ['image', 'atelier'],
    limit: ['at most', 2]
  },
  {
    goal: 'budgets and limits on: CPU of a 256 B answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['guarded', 'atelier-guarded'],
    to: ['guarded', 'bare'],
    limit: ['at most', 5]
  },
  { goal: 'tasks on: CPU of a 256 B answer, to bare', figure: 'cpuMsPerRequest', of: ['url', 'atelier-tasks'], to: ['url', 'bare'] },
  {
    goal: 'tasks on: CPU of a 2.2 MB answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['image', 'atelier-tasks'],
    to: ['image', 'bare'],
    limit: ['at most', 1.8]
  },
  {
    goal: 'tasks on: CPU of an 8.8 MB answer, to bare',
    figure: 'cpuMsPerRequest',
    of: ['four-images', 'atelier-tasks'],
    to: ['four-images', 'bare']
  },
  {
    goal: 'tasks on: peak memory with 1,000 requests held, to bare',
    figure: 'peakRssMB',
    of: ['held', 'atelier-tasks'],
    to: ['held', 'bare']
  },
  {
    goal: 'tasks on: peak memory with 10,000 tasks beside them, to without',
    figure: 'peakRssMB',
    of: ['queue', 'atelier-tasks'],
    to: ['held', 'atelier-tasks'],
    limit: ['at most', 1.5]
  }
]

/** Those goals that the measurements say something about. */
export function judge(measurements: readonly Measurement[], startup: Startup | undefined): GoalResult[] {
  const find = ([scenario, target]: Side, figure: Figure) =>
    measurements.find((measurement) => measurement.scenario === scenario && measurement.target === target)?.[figure]
  const results = ratios.flatMap(({ goal, figure, of, to, limit }) => {
    const [above, below] = [find(of, figure), find(to, figure)]
    return above === undefined || below === undefined ? [] : [result(goal, above / below, limit)]
  })
  const queue = measurements.find(({ scenario }) => scenario === 'queue')
  if (queue) results.push(result('errors with 1,000 requests held and 10,000 tasks queued', queue.errors, ['at most', 0]))
  const postgres = measurements.find(({ scenario }) => scenario === 'postgres')
  if (postgres) {
    results.push(result('on PostgreSQL: requests per second with everything on', postgres.perSecond, ['at least', 1_000]))
    results.push(result('on PostgreSQL: errors', postgres.errors, ['at most', 0]))
  }
  if (startup) results.push(result('ms from `npm start` until ready', startup.npmStartMs, ['at most', 1000]))
  if (startup?.idleRssMB !== undefined) results.push(result('MB of memory when idle', startup.idleRssMB, ['at most', 120]))
  return results
}

function result(goal: string, value: number, limit: Limit | undefined): GoalResult {
  if (limit === undefined) return { goal, value }
  const [bound, figure] = limit
  return { goal, value, limit, reached: bound === 'at most' ? value <= figure : value >= figure }
}
