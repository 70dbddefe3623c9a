import { create } from '@bufbuild/protobuf'
import type { Transport } from '@connectrpc/connect'
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node'
import { onTestFinished } from 'vitest'
import { EstimateCostResponseSchema, UploadImageResponseSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { GetModelResponseSchema, ListModelsResponseSchema } from '../../gen/atelier/v1/model_service_pb.ts'
import { TaskSchema } from '../../gen/atelier/v1/task_pb.ts'
import { ListTasksResponseSchema } from '../../gen/atelier/v1/task_service_pb.ts'
import { gatewayError } from '../../src/errors.ts'
import type { Operations } from '../../src/invoke.ts'
import { createLog } from '../../src/log.ts'
import { createListener } from '../../src/wire/listener.ts'
import { createRequestRecords } from '../../src/wire/request-record.ts'
import { createRpcHandler, type RpcDeps, type RpcOptions } from '../../src/wire/rpc.ts'
import { noChoices } from './call.ts'

export interface RpcServer {
  port: number
  url: string
  logLines: Record<string, unknown>[]
  drain(timeoutMs: number): Promise<void>
}

/** The RPC front door on a port of its own, over operations that the test gives; closed when the test is over. */
export async function startRpcServer(
  operations: Partial<Operations>,
  deps: Partial<RpcDeps> = {},
  options: RpcOptions = {}
): Promise<RpcServer> {
  const logLines: Record<string, unknown>[] = []
  const log = createLog({ level: 'info', destination: { write: (line) => void logLines.push(JSON.parse(line)) } })
  const metrics = { began() {}, finished() {}, render: async () => ({ contentType: '', text: '' }) }
  const rpc = createRpcHandler(
    {
      operations: { ...noOperations, ...operations },
      administered: [],
      authenticator: {
        authenticate(headers) {
          if (headers.authorization !== 'Bearer key') throw gatewayError('INVALID_API_KEY', {})
          return { caller: { organizationId: 'default', apiKeyId: 'key-1', scopes: ['generate', 'edit', 'read_tasks'] } }
        }
      },
      choices: noChoices,
      openRecord: createRequestRecords({ log, metrics }),
      cors: () => false,
      log,
      unready: () => undefined,
      uploads: { take: () => Promise.reject(new Error('no uploads here')) },
      hostImage: () => Promise.reject(new Error('no image store here')),
      ...deps
    },
    options
  )
  const listener = createListener({ host: '127.0.0.1', port: 0, maxConnections: 100, log }, (req, res) => {
    if (rpc(req, res)) return
    res.statusCode = 404
    res.end()
  })
  const { port } = await listener.listen()
  onTestFinished(() => listener[Symbol.asyncDispose]())
  return { port, url: `http://127.0.0.1:${port}`, logLines, drain: (timeoutMs) => listener.drain(timeoutMs) }
}

/** Every way in which a client can speak to the RPC port; `key` unset sends no API key. */
export const transports: Record<string, (baseUrl: string, key?: string) => Transport> = {
  'gRPC over h2c': (baseUrl, key) => createGrpcTransport({ baseUrl, interceptors: withKey(key) }),
  'gRPC JSON over h2c': (baseUrl, key) => createGrpcTransport({ baseUrl, useBinaryFormat: false, interceptors: withKey(key) }),
  'gRPC-Web over HTTP/1.1': (baseUrl, key) => createGrpcWebTransport({ baseUrl, httpVersion: '1.1', interceptors: withKey(key) }),
  'gRPC-Web over h2c': (baseUrl, key) => createGrpcWebTransport({ baseUrl, httpVersion: '2', interceptors: withKey(key) }),
  'Connect JSON over HTTP/1.1': (baseUrl, key) =>
    createConnectTransport({ baseUrl, httpVersion: '1.1', useBinaryFormat: false, interceptors: withKey(key) }),
  'Connect binary over HTTP/1.1': (baseUrl, key) =>
    createConnectTransport({ baseUrl, httpVersion: '1.1', useBinaryFormat: true, interceptors: withKey(key) }),
  'Connect over h2c': (baseUrl, key) => createConnectTransport({ baseUrl, httpVersion: '2', interceptors: withKey(key) })
}

function withKey(key: string | undefined): import('@connectrpc/connect').Interceptor[] {
  if (key === undefined) return []
  return [
    (next) => (req) => {
      req.header.set('authorization', `Bearer ${key}`)
      return next(req)
    }
  ]
}

const noOperations: Operations = {
  generateImages: () => notExpected(),
  editImages: () => notExpected(),
  createVariations: () => notExpected(),
  createTask: async () => create(TaskSchema),
  getTask: async () => create(TaskSchema),
  listTasks: async () => create(ListTasksResponseSchema),
  findTasks: async () => [],
  cancelTask: async () => create(TaskSchema),
  watchTask: () => notExpected(),
  redeliverCallback: async () => create(TaskSchema),
  deleteImage: async () => undefined,
  uploadImage: async () => create(UploadImageResponseSchema),
  estimateCost: async () => create(EstimateCostResponseSchema),
  listModels: async () => create(ListModelsResponseSchema),
  getModel: async () => create(GetModelResponseSchema)
}

// biome-ignore lint/correctness/useYield: it fails before it yields anything.
async function* notExpected(): AsyncGenerator<never> {
  throw new Error('not expected by this test')
}
