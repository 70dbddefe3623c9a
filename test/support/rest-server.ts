import { onTestFinished } from 'vitest'
import { gatewayError } from '../../src/errors.ts'
import type { Operations } from '../../src/invoke.ts'
import { createLog } from '../../src/log.ts'
import { createCors } from '../../src/wire/cors.ts'
import { createListener } from '../../src/wire/listener.ts'
import { createRequestRecords } from '../../src/wire/request-record.ts'
import { createRestHandler, createRestRoutes, type RestDeps } from '../../src/wire/rest.ts'
import { noChoices } from './call.ts'

export interface RestServer {
  port: number
  url: string
  logLines: Record<string, unknown>[]
  /** Sends a request with the API key; a body that is no text goes as JSON. */
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  drain(timeoutMs: number): Promise<void>
}

export interface Answer {
  status: number
  headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: tests compare it whole.
  body: any
}

/** The origin whose pages may call. */
export const allowedOrigin = 'https://app.example.com'

/** The REST front door on a port of its own, over operations that the test gives; closed when the test is over. */
export async function startRestServer(operations: Partial<Operations>, deps: Partial<RestDeps> = {}): Promise<RestServer> {
  const logLines: Record<string, unknown>[] = []
  const log = createLog({ level: 'info', destination: { write: (line) => void logLines.push(JSON.parse(line)) } })
  const metrics = { began() {}, finished() {}, render: async () => ({ contentType: '', text: '' }) }
  const all: RestDeps = {
    operations: operations as Operations,
    uploads: { take: () => Promise.reject(new Error('no uploads here')) },
    authenticator: {
      authenticate(headers) {
        if (headers.authorization !== 'Bearer key') throw gatewayError('INVALID_API_KEY', {})
        return { caller: { organizationId: 'org-1', apiKeyId: 'key-1', scopes: ['generate', 'edit', 'read_tasks'] } }
      }
    },
    choices: noChoices,
    downloads: async () => undefined,
    metrics,
    openRecord: createRequestRecords({ log, metrics }),
    cors: createCors([allowedOrigin]),
    log,
    unready: () => undefined,
    ...deps
  }
  const handle = createRestHandler(createRestRoutes({ maxBodyBytes: 100_000 }, all), all)
  const listener = createListener({ host: '127.0.0.1', port: 0, maxConnections: 100, log }, (request, response) => {
    void handle(request, response)
  })
  const { port } = await listener.listen()
  onTestFinished(() => listener[Symbol.asyncDispose]())
  const url = `http://127.0.0.1:${port}`
  return {
    port,
    url,
    logLines,
    async send(method, path, body, headers = {}) {
      const isText = typeof body === 'string' || body instanceof Uint8Array
      const response = await fetch(url + path, {
        method,
        headers: { authorization: 'Bearer key', ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
        ...(body !== undefined && { body: isText ? (body as BodyInit) : JSON.stringify(body) })
      })
      const text = await response.text()
      const isJson = response.headers.get('content-type') === 'application/json'
      return { status: response.status, headers: response.headers, body: isJson && text !== '' ? JSON.parse(text) : text }
    },
    drain: (timeoutMs) => listener.drain(timeoutMs)
  }
}
