import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Call, NeededScope } from '../call.ts'
import type { RequestRecord } from './request-record.ts'

/** One request on its way through a route. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  record: RequestRecord
  /** What stood for `{id}`, or followed the route's prefix, percent-decoded. */
  rest: string
  /** Absent on public routes. */
  call: Call
  dialect: Dialect
  /** The caller's own name for its request; empty where it gave none. */
  traceId: string
  /** Decides the vendor's wording of errors. */
  writtenModel: string | undefined
}

/** Several routes may share a path, each with methods of its own. */
export interface RestRoute {
  /** A path that ends in "/" takes everything below it; `{id}` stands for one segment. */
  path: string
  methods: readonly string[]
  /** The RPCs that do the same; empty for what only HTTP has. */
  rpcs: readonly string[]
  access: 'public' | NeededScope
  handle(exchange: Exchange): Promise<void>
}

/** How answers and errors are put: as OpenAI does, or with `success`, `task_id` and `trace_id` around them and codes of their own. */
export type Dialect = 'openai' | 'enveloped'

/** The dialect follows the path, also where there is no route. */
export function dialectOf(url: string | undefined): Dialect {
  return /^(?:\/v1)?\/openai\//.test(url ?? '') ? 'enveloped' : 'openai'
}
