import { type Answer, answers } from './answers.ts'
import type { Protocol, TaskLoad } from './load-job.ts'
import type { TargetName } from './targets.ts'

export interface Scenario {
  name: ScenarioName
  title: string
  /** Name of the answer in the fake upstream, and how long it holds it. */
  upstream: { answer: keyof typeof answers; holdMs: number }
  protocol: Protocol
  targets: readonly TargetName[]
  connections: number
  /** Of one burst; 0 makes one request on each connection. */
  durationMs: number
  /** Load before the bursts that count, until V8 has compiled what is used often, which takes a thousand requests, however large. */
  warmUpMs: number
  /** Bursts that count. Memory is judged on the first one, so scenarios about it have no other. */
  rounds: number
  verifyEvery: number
  pauseMs: number
  /** Handed in beside the requests, for a model of an upstream of their own. */
  tasks?: Omit<TaskLoad, 'model' | 'answer'> & Pick<Scenario, 'upstream'>
}

export type ScenarioName =
  | 'url'
  | 'guarded'
  | 'postgres'
  | 'image'
  | 'four-images'
  | 'held'
  | 'queue'
  | 'slow-reader'
  | 'grpc'
  | 'grpc-stream'

const proxies = ['nginx', 'bare', 'atelier', 'atelier-tasks', 'portkey'] as const

export const scenarios: readonly Scenario[] = [
  {
    name: 'url',
    title: '256 B answer with a link',
    upstream: { answer: 'url', holdMs: 0 },
    protocol: 'rest',
    targets: proxies,
    connections: 32,
    durationMs: 3_000,
    warmUpMs: 10_000,
    rounds: 5,
    verifyEvery: 16,
    pauseMs: 0
  },
  {
    name: 'guarded',
    title: '256 B answer with a link, 64 requests in flight, under budgets and limits',
    upstream: { answer: 'url', holdMs: 0 },
    protocol: 'rest',
    targets: ['bare', 'atelier-tasks', 'atelier-guarded'],
    connections: 64,
    durationMs: 3_000,
    warmUpMs: 10_000,
    rounds: 5,
    verifyEvery: 16,
    pauseMs: 0
  },
  {
    name: 'postgres',
    title: 'the same for 60 s on PostgreSQL, with client, upstream, database and gateway on this machine',
    upstream: { answer: 'url', holdMs: 0 },
    protocol: 'rest',
    targets: ['atelier-postgres'],
    connections: 64,
    durationMs: 60_000,
    warmUpMs: 10_000,
    rounds: 1,
    verifyEvery: 16,
    pauseMs: 0
  },
  {
    name: 'image',
    title: '2.2 MB answer, one image in base64',
    upstream: { answer: 'image', holdMs: 0 },
    protocol: 'rest',
    targets: proxies,
    connections: 8,
    durationMs: 3_000,
    warmUpMs: 12_000,
    rounds: 5,
    verifyEvery: 16,
    pauseMs: 0
  },
  {
    name: 'four-images',
    title: '8.8 MB answer, n=4',
    upstream: { answer: 'fourImages', holdMs: 0 },
    protocol: 'rest',
    targets: proxies,
    connections: 4,
    durationMs: 4_000,
    warmUpMs: 12_000,
    rounds: 5,
    verifyEvery: 8,
    pauseMs: 0
  },
  {
    name: 'held',
    title: '1,000 requests held for 10 s at once, 2.2 MB each',
    upstream: { answer: 'image', holdMs: 10_000 },
    protocol: 'rest',
    targets: proxies,
    connections: 1_000,
    durationMs: 0,
    warmUpMs: 0,
    rounds: 1,
    verifyEvery: 10,
    pauseMs: 0
  },
  {
    name: 'queue',
    title: '1,000 requests held for 30 s at once, 2.2 MB each, and 10,000 tasks handed in meanwhile (p50 and p99 of that)',
    upstream: { answer: 'image', holdMs: 30_000 },
    protocol: 'rest',
    targets: ['atelier-tasks'],
    connections: 1_000,
    durationMs: 0,
    warmUpMs: 0,
    rounds: 1,
    verifyEvery: 10,
    pauseMs: 0,
    tasks: { count: 10_000, submitters: 32, beginMs: 3_000, upstream: { answer: 'thumbnail', holdMs: 250 } }
  },
  {
    name: 'slow-reader',
    title: '64 clients that stop reading for 5 s, 8.8 MB each',
    upstream: { answer: 'fourImages', holdMs: 0 },
    protocol: 'rest',
    targets: proxies,
    connections: 64,
    durationMs: 0,
    warmUpMs: 0,
    rounds: 1,
    verifyEvery: 8,
    pauseMs: 5_000
  },
  {
    name: 'grpc',
    title: 'the 2.2 MB answer over gRPC, as 1.65 MB of bytes in one message',
    upstream: { answer: 'image', holdMs: 0 },
    protocol: 'grpc',
    targets: ['atelier'],
    connections: 8,
    durationMs: 3_000,
    warmUpMs: 12_000,
    rounds: 5,
    verifyEvery: 16,
    pauseMs: 0
  },
  {
    name: 'grpc-stream',
    title: 'the 2.2 MB answer over gRPC, as a stream of bytes',
    upstream: { answer: 'image', holdMs: 0 },
    protocol: 'grpc-stream',
    targets: ['atelier'],
    connections: 8,
    durationMs: 3_000,
    warmUpMs: 12_000,
    rounds: 5,
    verifyEvery: 16,
    pauseMs: 0
  }
]

/** The same scenario, short enough for a smoke test; its figures mean nothing. */
export function quick(scenario: Scenario): Scenario {
  return {
    ...scenario,
    upstream: { ...scenario.upstream, holdMs: Math.min(scenario.upstream.holdMs, 200) },
    connections: Math.min(scenario.connections, 8),
    durationMs: Math.min(scenario.durationMs, 300),
    warmUpMs: Math.min(scenario.warmUpMs, 300),
    rounds: 1,
    pauseMs: Math.min(scenario.pauseMs, 200),
    ...(scenario.tasks && { tasks: { count: 40, submitters: 4, beginMs: 100, upstream: { ...scenario.tasks.upstream, holdMs: 20 } } })
  }
}

export function answerOf({ upstream }: Pick<Scenario, 'upstream'>): Answer {
  return answers[upstream.answer]
}
