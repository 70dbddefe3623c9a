import { describe, expect, test } from 'vitest'
import { OnDisconnect, OnInterrupt } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../../src/call.ts'
import { gatewayError } from '../../src/errors.ts'
import type { GenerationEvent } from '../../src/events.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import type { Operations } from '../../src/invoke.ts'
import type { TaskOrder } from '../../src/services/task-order.ts'
import { boundary, formBody } from '../support/form.ts'
import { allowedOrigin, startRestServer } from '../support/rest-server.ts'
import { queuedTask } from '../support/tasks.ts'

const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=', 'base64')
const generations = '/v1/images/generations'

const accepted: GenerationEvent = {
  kind: 'accepted',
  taskId: 'task_1',
  createdAt: 1_777_048_800,
  isReplay: false,
  provider: 'openai',
  model: 'gpt-image-2',
  warnings: []
}

async function* oneImage(first: GenerationEvent = accepted): AsyncIterable<GenerationEvent> {
  yield first
  yield { kind: 'image', index: 0, image: imageFromBytes(png, 'image/png') }
  yield { kind: 'completed' }
}

/** The front door over operations that note how they were called. */
async function startNoting(events: () => AsyncIterable<GenerationEvent> = oneImage) {
  const generated: Parameters<Operations['generateImages']>[] = []
  const orders: TaskOrder[] = []
  const server = await startRestServer({
    generateImages: (...given) => {
      generated.push(given)
      return events()
    },
    async createTask(order: TaskOrder, _: Call) {
      orders.push(order)
      return queuedTask({ traceId: order.traceId })
    }
  })
  return { ...server, generated, orders }
}

describe('a synchronous answer', () => {
  test('names its task, and is as old as the task', async () => {
    const { send } = await startNoting()
    const { headers, body } = await send('POST', generations, { prompt: 'a cat' })
    expect([headers.get('x-atelier-task-id'), headers.get('x-atelier-replayed')]).toEqual(['task_1', null])
    expect(body).toEqual({ created: 1_777_048_800, data: [{ b64_json: png.toString('base64') }] })
  })

  test('says when it is a repetition', async () => {
    const { send } = await startNoting(() => oneImage({ ...accepted, isReplay: true }))
    expect((await send('POST', generations, { prompt: 'a cat' })).headers.get('x-atelier-replayed')).toBe('true')
  })

  test('names no task where none is kept', async () => {
    const { send } = await startNoting(() => oneImage({ ...accepted, taskId: '' }))
    expect((await send('POST', generations, { prompt: 'a cat' })).headers.get('x-atelier-task-id')).toBeNull()
  })

  test('names its task also when it is an error', async () => {
    const { send, logLines } = await startNoting(async function* () {
      yield accepted
      throw gatewayError('OUTCOME_UNKNOWN', { provider: 'openai', problem: 'cut off' }, { outcome: 'unknown' })
    })
    const { status, headers, body } = await send('POST', generations, { prompt: 'a cat' })
    expect([status, headers.get('x-atelier-task-id'), headers.get('x-should-retry'), body.error.code]).toEqual([
      500,
      'task_1',
      'false',
      'outcome_unknown'
    ])
    await expect.poll(() => logLines[0]).toMatchObject({ outcome: 'OUTCOME_UNKNOWN', task: 'task_1' })
  })

  test('that is streamed names its task and is as old as the task', async () => {
    const { send } = await startNoting()
    const { headers, body } = await send('POST', generations, { prompt: 'a cat', stream: true })
    expect(headers.get('x-atelier-task-id')).toBe('task_1')
    expect(body).toMatch(/^event: image_generation.completed\ndata: \{"type":"image_generation.completed","created_at":1777048800,/)
  })

  test('that is the image itself names its task', async () => {
    const { send } = await startNoting()
    const { headers } = await send('POST', generations, { prompt: 'a cat' }, { accept: 'image/png' })
    expect([headers.get('content-type'), headers.get('x-atelier-task-id')]).toEqual(['image/png', 'task_1'])
  })

  test('may be read whole by a page of an allowed origin', async () => {
    const { send } = await startNoting(() => oneImage({ ...accepted, isReplay: true }))
    const { headers } = await send('POST', generations, { prompt: 'a cat' }, { origin: allowedOrigin })
    expect(headers.get('access-control-expose-headers')?.split(', ')).toEqual(
      expect.arrayContaining(['x-atelier-task-id', 'x-atelier-replayed', 'location', 'preference-applied'])
    )
  })
})

describe('headers of a request', () => {
  test('say what to do when nobody is there any more', async () => {
    const { send, generated } = await startNoting()
    const headers = { 'x-atelier-on-interrupt': 'retry', 'x-atelier-on-disconnect': 'cancel', 'idempotency-key': '"order-7"' }
    expect((await send('POST', generations, { prompt: 'a cat' }, headers)).status).toBe(200)
    expect(generated[0]?.[0]).toMatchObject({
      onInterrupt: OnInterrupt.RETRY,
      onDisconnect: OnDisconnect.CANCEL,
      requestId: 'order-7'
    })
  })

  test.each([
    ['x-atelier-on-interrupt', 'again', 'must be fail or retry, not "again"'],
    ['x-atelier-on-interrupt', '', 'must be fail or retry, not ""'],
    ['x-atelier-on-disconnect', 'KEEP', 'must be keep or cancel, not "KEEP"']
  ])('are refused where %s is "%s"', async (name, value, problem) => {
    const { send, generated } = await startNoting()
    const { status, body } = await send('POST', generations, { prompt: 'a cat' }, { [name]: value })
    expect([status, body.error.param, body.error.message, generated.length]).toEqual([400, name, `${name}: ${problem}`, 0])
  })

  test('are no fields of the body: there these names are the vendor’s', async () => {
    const { send, generated } = await startNoting()
    await send('POST', generations, { prompt: 'a cat', on_interrupt: 'retry', on_disconnect: 'cancel' })
    expect(generated[0]?.[0]).toMatchObject({
      onInterrupt: OnInterrupt.UNSPECIFIED,
      onDisconnect: OnDisconnect.UNSPECIFIED,
      providerOptions: { on_interrupt: 'retry', on_disconnect: 'cancel' }
    })
  })

  test.each<[Record<string, string>, boolean | undefined]>([
    [{}, undefined],
    [{ 'x-stainless-retry-count': '0' }, undefined],
    [{ 'x-stainless-retry-count': 'many' }, undefined],
    [{ 'x-stainless-retry-count': '1' }, true],
    [{ 'x-stainless-retry-count': '2' }, true],
    [{ 'grpc-previous-rpc-attempts': '1' }, true]
  ])('tell whether a client sends it again: %o', async (headers, isRepetition) => {
    const { send, generated } = await startNoting()
    await send('POST', generations, { prompt: 'a cat' }, headers)
    expect(generated[0]?.[2]?.isRepetition).toBe(isRepetition)
  })
})

describe('a trace id', () => {
  test('travels with a synchronous request, and not to the provider', async () => {
    const { send, generated } = await startNoting()
    await send('POST', generations, { prompt: 'a cat', trace_id: 'my trace – ü', vendor_option: 1 })
    expect(generated[0]?.[2]).toEqual({ traceId: 'my trace – ü' })
    expect(generated[0]?.[0].providerOptions).toEqual({ vendor_option: 1 })
  })

  test.each([
    ['a number', 7, 'must be a string'],
    ['a list', ['a'], 'must be a string'],
    ['too long', 'x'.repeat(256), 'must be no longer than 255 characters'],
    ['a text with NUL', 'a\0b', 'must be text without control characters'],
    ['half a character', '\ud800', 'must be text without control characters']
  ])('that is %s is refused', async (_, traceId, problem) => {
    const { send } = await startNoting()
    const { status, body } = await send('POST', generations, { prompt: 'a cat', trace_id: traceId })
    expect([status, body.error.param, body.error.message]).toEqual([400, 'trace_id', `trace_id: ${problem}`])
  })

  test('of null, or empty, is none', async () => {
    const { send, generated } = await startNoting()
    for (const traceId of [null, '']) await send('POST', generations, { prompt: 'a cat', trace_id: traceId, callback_url: traceId })
    expect(generated.map(([, , ways]) => ways)).toEqual([{}, {}])
  })
})

describe('an asynchronous request', () => {
  const callback_url = 'https://receiver.example/hook'

  test.each(['respond-async', 'Respond-Async', 'wait=10, respond-async', 'respond-async; foo="bar, baz", handling=lenient'])(
    'by "Prefer: %s" is answered with its task',
    async (prefer) => {
      const { send, orders } = await startNoting()
      const { status, headers, body } = await send('POST', generations, { prompt: 'a cat' }, { prefer })
      expect([status, headers.get('location'), headers.get('preference-applied'), headers.get('x-atelier-task-id')]).toEqual([
        202,
        '/v1/tasks/task_1',
        'respond-async',
        'task_1'
      ])
      expect(body).toMatchObject({ id: 'task_1', object: 'task', status: 'queued', result: null })
      expect(orders).toMatchObject([
        { operation: { kind: 'generation', request: { prompt: 'a cat' } }, callbackUrl: '', traceId: '', permanentLinks: false }
      ])
    }
  )

  test.each(['return=minimal', 'x="respond-async"', 'x="a, respond-async, b"', 'respond-async-not', 'wait=10'])(
    'is not asked for by "Prefer: %s"',
    async (prefer) => {
      const { send, orders } = await startNoting()
      const { status } = await send('POST', generations, { prompt: 'a cat' }, { prefer })
      expect([status, orders.length]).toEqual([200, 0])
    }
  )

  test('with a callback is answered with its id alone', async () => {
    const { send, orders } = await startNoting()
    const { status, headers, body } = await send('POST', generations, { prompt: 'a cat', callback_url })
    expect([status, body, headers.get('location'), headers.get('preference-applied'), headers.get('x-atelier-task-id')]).toEqual([
      200,
      { task_id: 'task_1' },
      '/v1/tasks/task_1',
      null,
      'task_1'
    ])
    expect(orders).toMatchObject([{ callbackUrl: callback_url, traceId: '' }])
  })

  test('with a callback and a trace id is answered with both', async () => {
    const { send, orders } = await startNoting()
    const { body } = await send('POST', generations, { prompt: 'a cat', callback_url, trace_id: 'mine' })
    expect([body, orders[0]?.traceId]).toEqual([{ task_id: 'task_1', trace_id: 'mine' }, 'mine'])
  })

  test('with a callback and "Prefer" is answered with its task', async () => {
    const { send, orders } = await startNoting()
    const { status, body } = await send('POST', generations, { prompt: 'a cat', callback_url }, { prefer: 'respond-async' })
    expect([status, body.id, orders[0]?.callbackUrl]).toEqual([202, 'task_1', callback_url])
  })

  test('takes its headers along, and keeps what is its own from the provider', async () => {
    const { send, orders } = await startNoting()
    const headers = { prefer: 'respond-async', 'x-atelier-on-interrupt': 'retry', 'idempotency-key': 'order-7' }
    await send('POST', generations, { prompt: 'a cat', callback_url, trace_id: 'mine', vendor_option: 1 }, headers)
    const operation = orders[0]?.operation
    expect(operation?.kind === 'generation' && operation.request).toMatchObject({
      onInterrupt: OnInterrupt.RETRY,
      requestId: 'order-7',
      providerOptions: { vendor_option: 1 }
    })
  })

  test.each<[string, object, Record<string, string>, string]>([
    ['streams with a callback', { stream: true, callback_url }, {}, 'stream'],
    ['streams with Prefer', { stream: true }, { prefer: 'respond-async' }, 'stream'],
    ['asks for the image itself', { callback_url }, { accept: 'image/png' }, 'accept'],
    ['asks for partial images', { callback_url, partial_images: 1 }, {}, 'partial_images'],
    ['has a number for a callback', { callback_url: 7 }, {}, 'callback_url'],
    ['has a list for a callback', { callback_url: [callback_url] }, {}, 'callback_url']
  ])('that %s is refused, and names it', async (_, fields, headers, param) => {
    const { send, orders } = await startNoting()
    const { status, body } = await send('POST', generations, { prompt: 'a cat', ...fields }, headers)
    expect([status, body.error.param, orders]).toEqual([400, param, []])
  })

  test('is refused as the service refuses it', async () => {
    const { send } = await startRestServer({
      async createTask() {
        throw gatewayError('TASKS_UNAVAILABLE', { param: 'callback_url' })
      }
    })
    const { status, body } = await send('POST', generations, { prompt: 'a cat', callback_url })
    expect([status, body.error.code]).toEqual([400, 'tasks_unavailable'])
  })

  test('may be an edit or a variation, as a form, whose files go to the task', async () => {
    const kept = { mediaType: 'image/png', sizeBytes: 3 }
    const orders: TaskOrder[] = []
    const server = await startRestServer(
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
            return { ...kept, open: () => imageFromBytes(png, 'image/png'), [Symbol.asyncDispose]: async () => undefined } as never
          }
        }
      }
    )
    const image = { name: 'image', content: png, filename: 'cat.png', type: 'image/png' }
    const fields = { callback_url, trace_id: 'mine' }
    const parts = [image, ...Object.entries(fields).map(([name, content]) => ({ name, content }))]
    const type = { 'content-type': `multipart/form-data; boundary=${boundary}` }
    const edit = await server.send('POST', '/v1/images/edits', formBody([...parts, { name: 'prompt', content: 'a hat' }]), type)
    const variation = await server.send('POST', '/v1/images/variations', formBody(parts), type)
    expect([edit.body, variation.body]).toEqual(Array(2).fill({ task_id: 'task_1', trace_id: 'mine' }))
    expect(orders).toMatchObject([
      { operation: { kind: 'edit', order: { images: [{ kind: 'upload', upload: kept }] } }, callbackUrl: callback_url, traceId: 'mine' },
      { operation: { kind: 'variation', order: { image: { kind: 'upload', upload: kept } } }, callbackUrl: callback_url }
    ])
    expect(orders.map(({ operation }) => operation.kind !== 'generation' && operation.order.parameters.providerOptions)).toEqual([
      undefined,
      undefined
    ])
  })
})

test('an estimate knows the fields of a task and leaves them aside', async () => {
  const asked: unknown[] = []
  const server = await startRestServer({
    async estimateCost({ request }) {
      asked.push(request?.providerOptions)
      return { $typeName: 'atelier.v1.EstimateCostResponse' } as never
    }
  })
  const { status } = await server.send('POST', '/v1/images/estimate', { prompt: 'a cat', callback_url: 'https://x', trace_id: 'y' })
  expect([status, asked]).toEqual([200, [undefined]])
})
