import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { taskModel } from './atelier-targets.ts'
import type { LoadJob, LoadResult } from './load-job.ts'
import { type ProcessUsage, readUsage } from './process-usage.ts'
import { quantile } from './quantile.ts'
import { freePort, readOutput, runProcess } from './run-process.ts'
import { answerOf, type Scenario } from './scenarios.ts'
import type { RunningTarget, Target, TargetName } from './targets.ts'

/** One target in one scenario: medians of its rounds. */
export interface Measurement {
  scenario: Scenario['name']
  target: TargetName
  /** In all rounds together, without the one that warms up; tasks that were handed in count too. */
  requests: number
  errors: number
  problems: string[]
  /** Answers whose images were compared with those that the upstream gave. */
  verified: number
  perSecond: number
  /** Of the answers; in a scenario with tasks, of handing them in. */
  p50Ms: number
  p99Ms: number
  /** Of the target's own process, user and system. Unset where the system does not tell. */
  cpuMsPerRequest?: number
  /** The same for each round. */
  cpuMsPerRequestRounds: number[]
  /** Before the first request, and the most until the end. */
  startRssMB?: number
  peakRssMB?: number
}

export interface MeasureOptions {
  /** Told what runs now. */
  report(line: string): void
  /** Where this gateway leaves CPU profiles of itself; none where unset. */
  profileDirectory?: string
}

/** Measures each target of a scenario in fresh processes, burst by burst in turns, so that what else the machine does hits all of them. */
export async function measure(scenario: Scenario, targets: readonly Target[], options: MeasureOptions): Promise<Measurement[]> {
  // Where memory is judged, nothing else may run beside the target.
  const groups = scenario.durationMs === 0 ? targets.map((target) => [target]) : [targets]
  const measurements: Measurement[] = []
  for (const group of groups) measurements.push(...(await measureInTurns(scenario, group, options)))
  return measurements
}

async function measureInTurns(scenario: Scenario, targets: readonly Target[], options: MeasureOptions): Promise<Measurement[]> {
  await using parts = new AsyncDisposableStack()
  const directory = await mkdtemp(join(tmpdir(), 'atelier-bench-'))
  parts.defer(() => rm(directory, { recursive: true, force: true }))
  const port = await freePort()
  const upstream = { command: process.execPath, args: [join(import.meta.dirname, 'fake-upstream.ts'), String(port)], port }
  parts.use(await runProcess({ ...upstream, logFile: join(directory, 'upstream.log') }))
  const urlOf = ({ answer, holdMs }: Scenario['upstream']) => `http://127.0.0.1:${port}/${answer}/${holdMs}/v1`
  const upstreams = {
    upstreamUrl: urlOf(scenario.upstream),
    ...(scenario.tasks && { taskUpstreamUrl: urlOf(scenario.tasks.upstream) })
  }

  const entrants: Entrant[] = []
  for (const target of targets) {
    await mkdir(join(directory, target.name))
    const running = parts.use(await target.start({ ...options, ...upstreams, directory: join(directory, target.name) }))
    await settled(running.pid)
    entrants.push({ target, running, begin: readUsage(running.pid), bursts: [] })
  }
  if (scenario.warmUpMs > 0) for (const { running } of entrants) await burst({ ...scenario, durationMs: scenario.warmUpMs }, running)
  for (let round = 1; round <= scenario.rounds; round++) {
    for (const entrant of entrants) {
      options.report(`${scenario.name} ${entrant.target.name} ${round}/${scenario.rounds}`)
      entrant.bursts.push(await burst(scenario, entrant.running))
    }
  }
  return entrants.map((entrant) => summarize(scenario, entrant))
}

interface Burst {
  load: LoadResult
  cpuMs: number | undefined
}

interface Entrant {
  target: Target
  running: RunningTarget
  begin: ProcessUsage | undefined
  bursts: Burst[]
}

async function burst(scenario: Scenario, { pid, url, headers }: RunningTarget): Promise<Burst> {
  const { protocol, connections, durationMs, verifyEvery, pauseMs, tasks } = scenario
  const job: LoadJob = {
    ...{ protocol, url, headers, answer: answerOf(scenario), connections, durationMs, verifyEvery, pauseMs },
    ...(tasks && { tasks: { ...tasks, model: taskModel, answer: answerOf(tasks) } })
  }
  const before = readUsage(pid)
  const printed = await readOutput(process.execPath, [join(import.meta.dirname, 'load.ts'), JSON.stringify(job)])
  const after = readUsage(pid)
  return { load: JSON.parse(printed), cpuMs: before && after && after.cpuMs - before.cpuMs }
}

/** Waits, at most a few seconds, until the process has done what it does at its start. */
async function settled(pid: number): Promise<void> {
  let last = -1
  for (let attempt = 0; attempt < 20; attempt++) {
    const cpuMs = readUsage(pid)?.cpuMs ?? 0
    if (cpuMs === last) return
    last = cpuMs
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

function summarize(scenario: Scenario, { target, running, begin, bursts }: Entrant): Measurement {
  const loads = bursts.map(({ load }) => load)
  const total = (count: (load: LoadResult) => number) => loads.reduce((sum, load) => sum + count(load), 0)
  const cpuMsPerRequestRounds = bursts.flatMap(({ cpuMs, load }) => (cpuMs === undefined ? [] : [cpuMs / Math.max(1, load.requests)]))
  const end = readUsage(running.pid)
  return {
    scenario: scenario.name,
    target: target.name,
    requests: total((load) => load.requests),
    errors: total((load) => load.errors),
    problems: loads.flatMap(({ problems }) => problems).slice(0, 5),
    verified: total((load) => load.verified),
    perSecond: quantile(
      loads.map((load) => (load.requests - load.errors) / load.seconds),
      0.5
    ),
    p50Ms: quantile(
      loads.map(({ p50Ms }) => p50Ms),
      0.5
    ),
    p99Ms: quantile(
      loads.map(({ p99Ms }) => p99Ms),
      0.5
    ),
    ...(cpuMsPerRequestRounds.length === 0 ? {} : { cpuMsPerRequest: quantile(cpuMsPerRequestRounds, 0.5) }),
    cpuMsPerRequestRounds,
    ...(begin && end ? { startRssMB: begin.rssMB, peakRssMB: end.peakRssMB } : {})
  }
}
