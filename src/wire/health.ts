import { Code, ConnectError, type HandlerContext, type ServiceImpl } from '@connectrpc/connect'
import { type Health, HealthCheckResponse_ServingStatus as Status } from '../../gen/grpc/health/v1/health_pb.ts'

export interface HealthDeps {
  /** Names of the services that are served; '' stands for the server as a whole. */
  services: readonly string[]
  /** Why the server should get no new requests; undefined while it should. */
  unready(): string | undefined
}

/**
 * gRPC health v1. All services share the server's readiness. A watch ends after it has said NOT_SERVING, so that it never holds up a
 * shutdown; clients then ask again.
 */
export function createHealth({ services, unready }: HealthDeps, checkIntervalMs = 500): ServiceImpl<typeof Health> {
  const known = new Set(['', ...services])
  const statusOf = (service: string) => {
    if (!known.has(service)) return Status.SERVICE_UNKNOWN
    return unready() === undefined ? Status.SERVING : Status.NOT_SERVING
  }
  return {
    check({ service }) {
      if (!known.has(service)) throw new ConnectError(`there is no service ${service.slice(0, 200).toWellFormed()}`, Code.NotFound)
      return { status: statusOf(service) }
    },
    async *watch({ service }, { signal }: HandlerContext) {
      let told: Status | undefined
      do {
        const status = statusOf(service)
        if (status !== told) yield { status }
        told = status
      } while (unready() === undefined && (await pause(checkIntervalMs, signal)))
    },
    list: () => ({ statuses: Object.fromEntries([...known].map((service) => [service, { status: statusOf(service) }])) })
  }
}

/** Waits; answers false as soon as the signal aborts. */
function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false)
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve(!signal.aborted)
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}
