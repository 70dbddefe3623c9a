import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Call, Scope } from '../call.ts'
import type { RequestRecord } from './request-record.ts'

/** One request on its way through a route. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  record: RequestRecord
  /** What followed the route's prefix, percent-decoded. */
  rest: string
  /** Absent on public routes. */
  call: Call
  /** Decides the vendor's wording of errors. */
  writtenModel: string | undefined
}

export interface RestRoute {
  /** A route whose path ends in "/" takes everything below it. */
  path: string
  methods: readonly string[]
  /** The RPCs that do the same; empty for what only HTTP has. */
  rpcs: readonly string[]
  access: 'public' | Scope
  handle(exchange: Exchange): Promise<void>
}
