import type { Answer } from './answers.ts'

/** `grpc` makes unary calls, `grpc-stream` those that are answered with a stream. */
export type Protocol = 'rest' | 'grpc' | 'grpc-stream'

/** What the load generator is told, as JSON in its last argument. */
export interface LoadJob {
  protocol: Protocol
  /** Of the images route, or of the gRPC server. */
  url: string
  headers: Record<string, string>
  answer: Answer
  /** Requests that run at the same time, each on a connection of its own. */
  connections: number
  /** How long new requests are begun. 0: each connection makes exactly one. */
  durationMs: number
  /** Every so many answers one is taken apart and its images compared; the others must have the right status, length and end. */
  verifyEvery: number
  /** After the first bytes of an answer nothing is read for so long. */
  pauseMs: number
  /** Handed in while those requests wait for their answers; every one of them must then succeed. */
  tasks?: TaskLoad
}

/** Tasks that nobody waits for. */
export interface TaskLoad {
  count: number
  /** How many are handed in at the same time. */
  submitters: number
  /** Passes before the first one, so that the requests beside them have all arrived. */
  beginMs: number
  model: string
  answer: Answer
}

/** What it prints, as one line of JSON. */
export interface LoadResult {
  requests: number
  errors: number
  /** The first few, in words. */
  problems: string[]
  bytes: number
  /** Answers whose images were compared. */
  verified: number
  seconds: number
  /** Of whole answers; with tasks, of handing them in. */
  p50Ms: number
  p99Ms: number
}

/** One connection to a target. A request resolves when a whole and right answer is there, and rejects for every other. */
export interface LoadConnection {
  request(verify: boolean): Promise<{ sizeBytes: number }>
  close(): Promise<void>
}

/** What every image must hash to. */
export interface Expected {
  base64Sha256: string
  bytesSha256: string
}

export function noteError(result: LoadResult, error: unknown): void {
  result.errors += 1
  if (result.problems.length < 5) result.problems.push(error instanceof Error ? error.message : String(error))
}
