import { randomUUID } from 'node:crypto'
import type { Caller } from '../call.ts'
import type { GatewayError } from '../errors.ts'
import type { GenerationEvent } from '../events.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from './metrics.ts'

/** What is remembered of a request until its one log line is written. */
export interface RequestRecord {
  /** Also the answer's `x-request-id`. */
  readonly id: string
  caller: Caller | undefined
  /** W3C trace id of the caller; empty where it sent none. */
  traceId: string
  provider: string
  model: string
  /** Whose keys the provider was called with, an organization's own by its id; empty where it was not called. */
  credential: string
  /** Id of the task that it made or shows; empty where there is none. */
  taskId: string
  /** Bytes of images and answer that were sent. */
  bytes: number
  /** Notes who serves the request. */
  accept(event: Extract<GenerationEvent, { kind: 'accepted' }>): void
  /** Notes why it failed; only the first reason counts. */
  fail(error: GatewayError): void
  /** Writes the line and counts the request; later calls do nothing. */
  close(status: number): void
}

export type OpenRecord = (route: string) => RequestRecord

/** Makes the records. No prompt, image, key or body is ever part of one. */
export function createRequestRecords(deps: { log: Logger; metrics: Metrics }): OpenRecord {
  return (route) => {
    const begunAt = performance.now()
    let failure: GatewayError | undefined
    let closed = false
    deps.metrics.began()
    return {
      id: `req_${randomUUID().replaceAll('-', '')}`,
      caller: undefined,
      traceId: '',
      provider: '',
      model: '',
      credential: '',
      taskId: '',
      bytes: 0,
      accept({ provider, model, taskId }) {
        this.provider = provider
        this.model = model
        this.taskId = taskId
      },
      fail(error) {
        failure ??= error
      },
      close(status) {
        if (closed) return
        closed = true
        const durationMs = Math.round((performance.now() - begunAt) * 10) / 10
        const { id, caller, traceId, provider, model, credential, taskId, bytes } = this
        const outcome = failure?.reason ?? 'ok'
        deps.metrics.finished({ route, provider, model, outcome, durationMs, bytes })
        deps.log[levelOf(failure)](
          {
            request: id,
            route,
            status,
            outcome,
            organization: caller?.organizationId,
            key: caller?.apiKeyId,
            provider,
            model,
            credential: credential || undefined,
            durationMs,
            bytes,
            trace: traceId || undefined,
            task: taskId || undefined,
            // A vendor names its parameters as the caller wrote them, and that may be anything.
            param: failure?.reason === 'PROVIDER_REJECTED' ? undefined : failure?.param,
            err: isOurs(failure) ? failure : undefined
          },
          'request'
        )
      }
    }
  }
}

/** The status that was sent; 499, as nginx writes it, where the client was gone before there was one. */
export function statusOf(response: { headersSent: boolean; statusCode: number }): number {
  return response.headersSent ? response.statusCode : 499
}

function levelOf(failure: GatewayError | undefined): 'info' | 'warn' | 'error' {
  if (!failure || failure.entry.http < 500) return 'info'
  return isOurs(failure) ? 'error' : 'warn'
}

/** Failures of the server itself. The sentence of any other error may quote the prompt, which must not be logged: its reason has to do. */
function isOurs(failure: GatewayError | undefined): boolean {
  return failure?.reason === 'INTERNAL' || failure?.reason === 'STORAGE_FAILED'
}
