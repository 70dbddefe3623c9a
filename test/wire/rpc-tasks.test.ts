import { create } from '@bufbuild/protobuf'
import { Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { describe, expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { TaskState } from '../../gen/atelier/v1/task_pb.ts'
import { ListTasksResponseSchema, TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import type { Call } from '../../src/call.ts'
import { gatewayError } from '../../src/errors.ts'
import type { GenerationEvent } from '../../src/events.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import type { RequestWays, TaskOrder } from '../../src/services/task-order.ts'
import { startRpcServer, transports } from '../support/rpc-server.ts'
import { queuedTask, succeededTask } from '../support/tasks.ts'

const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=', 'base64')

const accepted: GenerationEvent = {
  kind: 'accepted',
  taskId: 'task_1',
  createdAt: 1_777_048_800,
  isReplay: true,
  provider: 'openai',
  model: 'gpt-image-2',
  warnings: []
}

async function* oneImage(): AsyncIterable<GenerationEvent> {
  yield accepted
  yield { kind: 'image', index: 0, image: imageFromBytes(png, 'image/png') }
  yield { kind: 'completed' }
}

async function* failing(): AsyncIterable<GenerationEvent> {
  yield accepted
  throw gatewayError('OUTCOME_UNKNOWN', { provider: 'openai', problem: 'cut off' }, { outcome: 'unknown' })
}

const keyed: Interceptor = (next) => (req) => {
  req.header.set('authorization', 'Bearer key')
  return next(req)
}

const grpc = (url: string) => createGrpcTransport({ baseUrl: url, interceptors: [keyed] })

async function failureOf(run: Promise<unknown>): Promise<ConnectError> {
  return run.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => ConnectError.from(error)
  )
}

const reasonOf = (error: ConnectError) => error.findDetails(ErrorInfoSchema)[0]?.reason

describe.each(Object.entries(transports))('%s', (_, transport) => {
  test('names the task of an answer, and is as old as the task', async () => {
    const { url } = await startRpcServer({ generateImages: oneImage })
    const headers: Record<string, string> = {}
    const onHeader = (header: Headers) => void Object.assign(headers, Object.fromEntries(header))
    const { created, taskId } = await createClient(ImageService, transport(url, 'key')).generateImages({ prompt: 'a cat' }, { onHeader })
    expect([created, taskId, headers]).toMatchObject([
      1_777_048_800n,
      'task_1',
      { 'x-atelier-task-id': 'task_1', 'x-atelier-replayed': 'true' }
    ])
  })

  test('names the task of a stream, which is as old as the task', async () => {
    const { url } = await startRpcServer({ generateImages: oneImage })
    const headers: Record<string, string> = {}
    const onHeader = (header: Headers) => void Object.assign(headers, Object.fromEntries(header))
    const events = await Array.fromAsync(
      createClient(ImageService, transport(url, 'key')).streamGenerateImages({ request: { prompt: 'a cat' } }, { onHeader })
    )
    const [first, last] = [events[0]?.event, events.at(-1)?.event]
    expect(first?.case === 'accepted' && first.value.taskId).toBe('task_1')
    expect(last?.case === 'completed' && last.value.created).toBe(1_777_048_800n)
    expect(headers).toMatchObject({ 'x-atelier-task-id': 'task_1' })
  })

  test('names the task of an error', async () => {
    const { url } = await startRpcServer({ generateImages: failing })
    const error = await failureOf(createClient(ImageService, transport(url, 'key')).generateImages({ prompt: 'a cat' }))
    expect([error.code, error.metadata.get('x-atelier-task-id')]).toEqual([Code.Unknown, 'task_1'])
  })

  test('creates, gets, lists, cancels and redelivers', async () => {
    const asked: unknown[] = []
    const noting =
      <Answer>(answer: Answer) =>
      async (request: unknown) => {
        asked.push(request)
        return answer
      }
    const { url, logLines } = await startRpcServer({
      createTask: noting(queuedTask()),
      getTask: noting(succeededTask()),
      listTasks: noting(create(ListTasksResponseSchema, { tasks: [succeededTask()], nextPageToken: 'next' })),
      cancelTask: noting(queuedTask({ state: TaskState.CANCELLED })),
      redeliverCallback: noting(succeededTask())
    })
    const client = createClient(TaskService, transport(url, 'key'))
    const created = await client.createTask({
      operation: { case: 'generation', value: { prompt: 'a cat' } },
      callbackUrl: 'https://receiver.example',
      traceId: 'mine'
    })
    const { task } = await client.getTask({ id: 'task_1', waitSeconds: 7 })
    const { tasks, nextPageToken } = await client.listTasks({ pageSize: 3, states: [TaskState.RUNNING], traceId: 'mine' })
    const cancelled = await client.cancelTask({ id: 'task_1' })
    const redelivered = await client.redeliverCallback({ id: 'task_1' })
    expect([created.task, task, tasks, nextPageToken, cancelled.task?.state, redelivered.task?.id]).toEqual([
      queuedTask(),
      succeededTask(),
      [succeededTask()],
      'next',
      TaskState.CANCELLED,
      'task_1'
    ])
    expect(asked).toMatchObject([
      {
        operation: { kind: 'generation', request: { prompt: 'a cat' } },
        callbackUrl: 'https://receiver.example',
        traceId: 'mine',
        permanentLinks: false
      },
      { id: 'task_1', waitSeconds: 7 },
      { pageSize: 3, states: [TaskState.RUNNING], traceId: 'mine' },
      { id: 'task_1' },
      { id: 'task_1' }
    ])
    await expect.poll(() => logLines.filter(({ task }) => task === 'task_1').length).toBe(4)
  })

  test('watches a task to its end', async () => {
    const { url } = await startRpcServer({
      async *watchTask(request) {
        expect(request).toMatchObject({ id: 'task_1', afterRevision: 0n })
        yield queuedTask()
        yield queuedTask({ state: TaskState.RUNNING, revision: 2n })
        yield succeededTask()
      }
    })
    const told = await Array.fromAsync(createClient(TaskService, transport(url, 'key')).watchTask({ id: 'task_1' }))
    expect(told.map(({ task }) => task?.state)).toEqual([TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED])
  })

  test('tells why a watch ended before the task', async () => {
    const { url } = await startRpcServer({
      async *watchTask() {
        yield queuedTask()
        throw gatewayError('SHUTTING_DOWN', {})
      }
    })
    const error = await failureOf(Array.fromAsync(createClient(TaskService, transport(url, 'key')).watchTask({ id: 'task_1' })))
    expect([error.code, reasonOf(error)]).toEqual([Code.Unavailable, 'SHUTTING_DOWN'])
  })

  test('ends a watch when the caller leaves', async () => {
    const { promise: ended, resolve: end } = Promise.withResolvers<unknown>()
    const { url } = await startRpcServer({
      async *watchTask(_, { signal }: Call) {
        yield queuedTask()
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        end(signal.reason)
        throw signal.reason
      }
    })
    const leave = new AbortController()
    const watch = createClient(TaskService, transport(url, 'key')).watchTask({ id: 'task_1' }, { signal: leave.signal })
    await failureOf(
      (async () => {
        for await (const _ of watch) leave.abort()
      })()
    )
    expect(await ended).toMatchObject({ reason: 'CANCELLED' })
  })

  test('deletes an image', async () => {
    const deleted: string[] = []
    const { url } = await startRpcServer({
      async deleteImage({ imageId }) {
        deleted.push(imageId)
      }
    })
    await createClient(ImageService, transport(url, 'key')).deleteImage({ imageId: '4Hc0zzz' })
    expect(deleted).toEqual(['4Hc0zzz'])
  })

  test('refuses a caller without a key', async () => {
    const { url } = await startRpcServer({})
    const error = await failureOf(createClient(TaskService, transport(url)).getTask({ id: 'task_1' }))
    expect([error.code, reasonOf(error)]).toEqual([Code.Unauthenticated, 'INVALID_API_KEY'])
  })
})

describe('a task', () => {
  test('may be an edit or a variation, whose files are taken in', async () => {
    const orders: TaskOrder[] = []
    const upload = { mediaType: 'image/png', [Symbol.asyncDispose]: async () => undefined }
    const { url } = await startRpcServer(
      {
        async createTask(order: TaskOrder) {
          orders.push(order)
          return queuedTask()
        }
      },
      {
        uploads: {
          async take(source) {
            for await (const _ of source);
            return upload as never
          }
        }
      }
    )
    const client = createClient(TaskService, grpc(url))
    const image = { source: { case: 'data' as const, value: png } }
    await client.createTask({ operation: { case: 'edit', value: { parameters: { prompt: 'a hat' }, images: [image] } } })
    await client.createTask({ operation: { case: 'variation', value: { image } } })
    expect(orders).toMatchObject([
      { operation: { kind: 'edit', order: { parameters: { prompt: 'a hat' }, images: [{ kind: 'upload', param: 'images[0].data' }] } } },
      { operation: { kind: 'variation', order: { image: { kind: 'upload', param: 'image.data' } } }, callbackUrl: '', traceId: '' }
    ])
  })

  test.each<[string, Parameters<ReturnType<typeof createClient<typeof TaskService>>['createTask']>[0], string, string]>([
    ['no operation', {}, 'MISSING_PARAMETER', "missing required parameter: 'operation'"],
    [
      'an edit without images',
      { operation: { case: 'edit', value: { parameters: { prompt: 'x' } } } },
      'MISSING_PARAMETER',
      "missing required parameter: 'images'"
    ],
    [
      'partial images',
      { operation: { case: 'generation', value: { prompt: 'x', partialImages: 1 } } },
      'INVALID_PARAMETER',
      'partial_images: must be 0 unless the answer is streamed'
    ],
    [
      'a trace id without end',
      { operation: { case: 'generation', value: { prompt: 'x' } }, traceId: 'x'.repeat(256) },
      'INVALID_PARAMETER',
      'trace_id: must be no longer than 255 characters'
    ],
    [
      'a trace id with NUL',
      { operation: { case: 'generation', value: { prompt: 'x' } }, traceId: 'a\0' },
      'INVALID_PARAMETER',
      'trace_id: must be text without control characters'
    ]
  ])('with %s is refused', async (_, request, reason, message) => {
    const { url } = await startRpcServer({})
    const error = await failureOf(createClient(TaskService, grpc(url)).createTask(request))
    expect([error.code, reasonOf(error), error.rawMessage]).toEqual([Code.InvalidArgument, reason, message])
  })

  test.each(['\0', 'a b', '../x', 'x'.repeat(65)])('of the id %j does not exist', async (id) => {
    const { url } = await startRpcServer({})
    const client = createClient(TaskService, grpc(url))
    const failures = [
      client.getTask({ id }),
      client.cancelTask({ id }),
      client.redeliverCallback({ id }),
      Array.fromAsync(client.watchTask({ id }))
    ]
    expect((await Promise.all(failures.map(failureOf))).map(reasonOf)).toEqual(Array(4).fill('TASK_NOT_FOUND'))
  })

  test('is not listed by a trace id that none can have', async () => {
    const { url } = await startRpcServer({})
    const error = await failureOf(createClient(TaskService, grpc(url)).listTasks({ traceId: '\0' }))
    expect([error.code, reasonOf(error)]).toEqual([Code.InvalidArgument, 'INVALID_PARAMETER'])
  })
})

test('an image of an id that none can have does not exist', async () => {
  const { url } = await startRpcServer({})
  const error = await failureOf(createClient(ImageService, grpc(url)).deleteImage({ imageId: '\0' }))
  expect([error.code, reasonOf(error)]).toEqual([Code.NotFound, 'IMAGE_NOT_FOUND'])
})

test.each([
  ['grpc-previous-rpc-attempts', '1', { isRepetition: true }],
  ['grpc-previous-rpc-attempts', '0', {}],
  ['x-stainless-retry-count', '2', { isRepetition: true }]
])('%s of %s tells whether a client sends a request again', async (name, value, expected) => {
  const given: (RequestWays | undefined)[] = []
  const { url } = await startRpcServer({
    generateImages(_, __, ways) {
      given.push(ways)
      return oneImage()
    }
  })
  await createClient(ImageService, grpc(url)).generateImages({ prompt: 'a cat' }, { headers: { [name]: value } })
  expect(given).toEqual([expected])
})
