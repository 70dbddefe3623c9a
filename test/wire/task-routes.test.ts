import { create } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import type { DeleteImageRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { TaskOperation, TaskState } from '../../gen/atelier/v1/task_pb.ts'
import { type GetTaskRequest, type ListTasksRequest, ListTasksResponseSchema } from '../../gen/atelier/v1/task_service_pb.ts'
import type { Call } from '../../src/call.ts'
import { gatewayError } from '../../src/errors.ts'
import { connectRaw } from '../support/raw-client.ts'
import { allowedOrigin, startRestServer } from '../support/rest-server.ts'
import { interruptedTask, queuedTask, succeededTask } from '../support/tasks.ts'

const refusal = (param: string, message: RegExp) => ({
  error: { message: expect.stringMatching(message), type: 'invalid_request_error', param, code: 'invalid_value' }
})

describe('GET /v1/tasks/{id}', () => {
  async function startAsking() {
    const asked: GetTaskRequest[] = []
    const server = await startRestServer({
      async getTask(request) {
        asked.push(request)
        if (request.id === 'task_2') throw gatewayError('TASK_NOT_FOUND', {})
        return queuedTask()
      }
    })
    return { ...server, asked }
  }

  test('shows a task that has not begun, null for what is not known', async () => {
    const { send, asked, logLines } = await startAsking()
    const { status, body } = await send('GET', '/v1/tasks/task_1')
    expect([status, body]).toEqual([
      200,
      {
        id: 'task_1',
        object: 'task',
        status: 'queued',
        operation: 'generation',
        created_at: 1_777_048_800,
        started_at: null,
        finished_at: null,
        expires_at: null,
        trace_id: null,
        provider: null,
        model: null,
        progress: 0,
        error: null,
        retryable: null,
        may_be_billed: null,
        attempts: [],
        callback: null,
        result: null,
        parameters: { prompt: 'a cat', model: 'dall-e-3', n: 2, vendor_option: 7 }
      }
    ])
    expect(asked).toMatchObject([{ id: 'task_1', waitSeconds: 0 }])
    await expect.poll(() => logLines[0]).toMatchObject({ route: '/v1/tasks/{id}', task: 'task_1', status: 200 })
  })

  test('shows all that a task came to', async () => {
    const { send } = await startRestServer({ getTask: async () => succeededTask() })
    expect((await send('GET', '/v1/tasks/task_1')).body).toEqual({
      id: 'task_1',
      object: 'task',
      status: 'succeeded',
      operation: 'generation',
      created_at: 1_777_048_800,
      started_at: 1_777_048_801,
      finished_at: 1_777_048_860,
      expires_at: 1_777_653_660,
      trace_id: 'my-trace',
      provider: 'openai',
      model: 'dall-e-3',
      progress: 1,
      error: null,
      retryable: null,
      may_be_billed: null,
      attempts: [
        {
          part: 0,
          ordinal: 0,
          provider: 'openai',
          model: 'dall-e-3',
          status: 'succeeded',
          credential: 'organization',
          credential_id: 'cred_1',
          cost_micros: 40_000,
          intended_at: 1_777_048_801,
          closed_at: 1_777_048_859
        },
        {
          part: 1,
          ordinal: 0,
          provider: 'openai',
          model: 'dall-e-3',
          status: 'intended',
          credential: null,
          credential_id: null,
          cost_micros: null,
          intended_at: 1_777_048_802,
          closed_at: null
        }
      ],
      callback: {
        status: 'pending',
        webhook_id: 'msg_1',
        next_attempt_at: 1_777_048_900,
        deliveries: [{ at: 1_777_048_861, status: null, problem: 'connection refused', duration_ms: 12 }]
      },
      result: {
        created: 1_777_048_800,
        data: [{ url: 'https://images.example/a', seed: 7, revised_prompt: 'a large cat' }],
        usage: { input_tokens: 5, output_tokens: 7, total_tokens: 12 },
        quality: 'standard',
        missing: [{ index: 1, outcome: 'moderated', message: 'withheld by the provider' }],
        atelier: {
          cost: { total_micros: 40_000, estimated: false },
          warnings: [{ kind: 'ignored', param: 'seed', message: 'dall-e-3 has no seeds' }]
        }
      },
      parameters: { prompt: 'a cat', model: 'dall-e-3', n: 2, vendor_option: 7 }
    })
  })

  test('shows why there are no images, and whether that may have cost something', async () => {
    const { send } = await startRestServer({ getTask: async () => interruptedTask() })
    expect((await send('GET', '/v1/tasks/task_1')).body).toMatchObject({
      status: 'interrupted',
      result: null,
      error: {
        message: 'the answer of the provider openai was lost: the server ended',
        type: 'provider_error',
        param: null,
        code: 'outcome_unknown'
      },
      retryable: false,
      may_be_billed: true
    })
  })

  test('shows the parameters of a variation without the instruction that it is made with', async () => {
    const { send } = await startRestServer({ getTask: async () => queuedTask({ operation: TaskOperation.VARIATION }) })
    expect((await send('GET', '/v1/tasks/task_1')).body).toMatchObject({
      operation: 'variation',
      parameters: { model: 'dall-e-3', n: 2, vendor_option: 7 }
    })
  })

  test('waits as long as it is asked to', async () => {
    const { send, asked } = await startAsking()
    for (const wait of ['0', '7', '300']) expect((await send('GET', `/v1/tasks/task_1?wait=${wait}`)).status).toBe(200)
    expect(asked.map(({ waitSeconds }) => waitSeconds)).toEqual([0, 7, 300])
  })

  test.each(['301', '-1', '1.5', 'soon', '', '1e2', '0x10', '99999999999999999999', '7;drop', '٣'])(
    'refuses to wait for "%s"',
    async (wait) => {
      const { send, asked } = await startAsking()
      const { status, body } = await send('GET', `/v1/tasks/task_1?wait=${encodeURIComponent(wait)}`)
      expect([status, body, asked]).toEqual([400, refusal('wait', /^wait: must be a whole number from 0 to 300, not "/), []])
    }
  )

  test.each([
    ['?wait=1&wait=2', 'wait', /was sent twice/],
    ['?wat=1', 'wat', /is not known here: use wait/],
    ['?%00=1', '\0', /is not known here/],
    ['?__proto__=1', '__proto__', /is not known here/]
  ])('refuses the query "%s"', async (query, param, message) => {
    const { send } = await startAsking()
    const { status, body } = await send('GET', `/v1/tasks/task_1${query}`)
    expect([status, body]).toEqual([400, refusal(param, message)])
  })

  test('ends the wait when the caller leaves', async () => {
    const { promise: begun, resolve: begin } = Promise.withResolvers<Call>()
    const { promise: ended, resolve: end } = Promise.withResolvers<unknown>()
    const { port, logLines } = await startRestServer({
      getTask(_, call) {
        begin(call)
        return new Promise((resolve) =>
          call.signal.addEventListener('abort', () => {
            end(call.signal.reason)
            resolve(queuedTask())
          })
        )
      }
    })
    const client = await connectRaw({ port })
    client.send('GET /v1/tasks/task_1?wait=300 HTTP/1.1\r\nhost: here\r\nauthorization: Bearer key\r\n\r\n')
    await begun
    client.socket.destroy()
    expect(await ended).toMatchObject({ reason: 'CANCELLED' })
    await expect.poll(() => logLines.map(({ outcome }) => outcome)).toEqual(['CANCELLED'])
  })

  test('does not find a task that is not the caller’s', async () => {
    const { send } = await startAsking()
    const { status, body } = await send('GET', '/v1/tasks/task_2')
    expect([status, body.error.code]).toEqual([404, 'task_not_found'])
  })

  test.each(['%00', 'task%2F1', 'x'.repeat(65), 'ta%20sk', '%F0%9F%90%88', "'%20OR%201=1"])('does not even look for "%s"', async (id) => {
    const { send, asked } = await startAsking()
    const { status, body } = await send('GET', `/v1/tasks/${id}`)
    expect([status, body.error.code, asked]).toEqual([404, 'task_not_found', []])
  })

  test('refuses a malformed percent-encoding', async () => {
    const { send } = await startAsking()
    expect((await send('GET', '/v1/tasks/%zz')).body.error.code).toBe('malformed_request')
  })

  test('may be asked by HEAD', async () => {
    const { send } = await startAsking()
    const { status, body, headers } = await send('HEAD', '/v1/tasks/task_1')
    expect([status, body, Number(headers.get('content-length')) > 100]).toEqual([200, '', true])
  })

  test('needs a key', async () => {
    const { send, asked } = await startAsking()
    expect((await send('GET', '/v1/tasks/task_1', undefined, { authorization: 'Bearer wrong' })).status).toBe(401)
    expect(asked).toEqual([])
  })
})

describe('GET /v1/tasks', () => {
  async function startListing(nextPageToken = '') {
    const asked: ListTasksRequest[] = []
    const server = await startRestServer({
      async listTasks(request) {
        asked.push(request)
        const { result: _, parameters: __, ...listed } = succeededTask()
        return create(ListTasksResponseSchema, { tasks: [listed], nextPageToken })
      }
    })
    return { ...server, asked }
  }

  test('lists tasks without their results and parameters', async () => {
    const { send, asked } = await startListing()
    const { status, body } = await send('GET', '/v1/tasks')
    expect([status, { ...body, data: body.data.length }]).toEqual([200, { object: 'list', data: 1, has_more: false, next: null }])
    expect(body.data[0]).toMatchObject({ id: 'task_1', object: 'task', status: 'succeeded', trace_id: 'my-trace' })
    expect(Object.keys(body.data[0])).not.toEqual(expect.arrayContaining(['result']))
    expect(asked).toMatchObject([{ pageSize: 0, pageToken: '', states: [], traceId: '' }])
  })

  test('says where the next page begins', async () => {
    const { send } = await startListing('abc-_=')
    expect((await send('GET', '/v1/tasks')).body).toMatchObject({ has_more: true, next: 'abc-_=' })
  })

  test.each([
    ['?limit=1', { pageSize: 1 }],
    ['?limit=100&after=abc-_%3D', { pageSize: 100, pageToken: 'abc-_=' }],
    ['?status=queued', { states: [TaskState.QUEUED] }],
    ['?status=queued,running&status=failed&status=queued', { states: [TaskState.QUEUED, TaskState.RUNNING, TaskState.FAILED] }],
    ['?trace_id=my%20trace%20%C3%BC', { traceId: 'my trace ü' }]
  ])('understands "%s"', async (query, expected) => {
    const { send, asked } = await startListing()
    expect((await send('GET', `/v1/tasks${query}`)).status).toBe(200)
    expect(asked).toMatchObject([expected])
  })

  test.each([
    ['?limit=0', 'limit', /from 1 to 100, not "0"/],
    ['?limit=101', 'limit', /from 1 to 100/],
    ['?limit=', 'limit', /from 1 to 100, not ""/],
    ['?limit=ten', 'limit', /from 1 to 100, not "ten"/],
    ['?limit=1&limit=2', 'limit', /was sent twice/],
    ['?status=done', 'status', /must be among queued, running, succeeded, failed, cancelled, interrupted, not "done"/],
    ['?status=', 'status', /must be among/],
    ['?status=queued,', 'status', /must be among/],
    ['?after=%00', 'after', /must be the `next` of the page before/],
    [`?after=${'x'.repeat(129)}`, 'after', /must be the `next` of the page before/],
    ['?trace_id=%00', 'trace_id', /without control characters/],
    [`?trace_id=${'x'.repeat(256)}`, 'trace_id', /no longer than 255 characters/],
    ['?before=x', 'before', /is not known here: use limit, after, status, trace_id/]
  ])('refuses "%s"', async (query, param, message) => {
    const { send, asked } = await startListing()
    const { status, body } = await send('GET', `/v1/tasks${query}`)
    expect([status, body, asked]).toEqual([400, refusal(param, message), []])
  })

  test('tells of a token that leads nowhere by the name that it has here', async () => {
    const { send } = await startRestServer({
      async listTasks() {
        throw gatewayError('INVALID_PARAMETER', { param: 'page_token', problem: 'is none' })
      }
    })
    expect((await send('GET', '/v1/tasks?after=abc')).body).toEqual(refusal('after', /^after: must be the `next`/))
  })
})

describe('what changes a task', () => {
  test('DELETE /v1/tasks/{id} cancels it and shows it', async () => {
    const cancelled: string[] = []
    const { send } = await startRestServer({
      async cancelTask({ id }) {
        cancelled.push(id)
        return queuedTask({ state: TaskState.CANCELLED })
      }
    })
    const { status, body } = await send('DELETE', '/v1/tasks/task_1')
    expect([status, body.status, cancelled]).toEqual([200, 'cancelled', ['task_1']])
  })

  test('POST /v1/tasks/{id}/callback delivers its callback again and shows it', async () => {
    const redelivered: string[] = []
    const { send } = await startRestServer({
      async redeliverCallback({ id }) {
        redelivered.push(id)
        return succeededTask()
      }
    })
    const { status, body } = await send('POST', '/v1/tasks/task_1/callback')
    expect([status, body.callback.status, redelivered]).toEqual([202, 'pending', ['task_1']])
  })

  test('DELETE /v1/images/{id} deletes an image and says nothing', async () => {
    const deleted: DeleteImageRequest[] = []
    const { send } = await startRestServer({
      async deleteImage(request) {
        deleted.push(request)
      }
    })
    const { status, body } = await send('DELETE', '/v1/images/4Hc0zzz')
    expect([status, body, deleted.map(({ imageId }) => imageId)]).toEqual([204, '', ['4Hc0zzz']])
  })

  test.each(['%00', 'a.b', 'a%2Fb', 'x'.repeat(65)])('DELETE /v1/images/%s finds no image', async (id) => {
    const { send } = await startRestServer({})
    const { status, body } = await send('DELETE', `/v1/images/${id}`)
    expect([status, body.error.code]).toEqual([404, 'image_not_found'])
  })

  test.each([
    ['DELETE', '/v1/tasks/task_1?force=1'],
    ['POST', '/v1/tasks/task_1/callback?force=1'],
    ['DELETE', '/v1/images/4Hc0zzz?force=1']
  ])('%s %s has no query', async (method, path) => {
    const { send } = await startRestServer({})
    const { status, body } = await send(method, path)
    expect([status, body]).toEqual([400, refusal('force', /there are no query parameters/)])
  })
})

describe('the route table', () => {
  test.each([
    ['GET', '/v1/tasks/', 404, null],
    ['GET', '/v1/tasks/task_1/', 404, null],
    ['GET', '/v1/tasks/task_1/result', 404, null],
    ['POST', '/v1/tasks/task_1/callback/again', 404, null],
    ['DELETE', '/v1/images/', 404, null],
    ['GET', '/v1/tasks/task_1/callback', 405, 'POST'],
    ['PUT', '/v1/tasks/task_1', 405, 'GET, HEAD, DELETE'],
    ['POST', '/v1/tasks', 405, 'GET, HEAD'],
    ['GET', '/v1/images/generations', 405, 'POST'],
    ['DELETE', '/v1/images/edits', 405, 'POST'],
    ['GET', '/v1/images/4Hc0zzz', 405, 'DELETE']
  ])('answers %s %s with %i', async (method, path, expected, allow) => {
    const { send } = await startRestServer({})
    const { status, headers } = await send(method, path)
    expect([status, headers.get('allow')]).toEqual([expected, allow])
  })

  test('lets pages of an allowed origin cancel a task', async () => {
    const { send } = await startRestServer({})
    const preflight = { origin: allowedOrigin, 'access-control-request-method': 'DELETE', 'access-control-request-headers': 'prefer' }
    const { status, headers } = await send('OPTIONS', '/v1/tasks/task_1', undefined, preflight)
    expect([status, headers.get('access-control-allow-methods'), headers.get('access-control-allow-headers')]).toEqual([
      204,
      'GET, HEAD, POST, DELETE, OPTIONS',
      'prefer'
    ])
  })
})
