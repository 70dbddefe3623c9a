import { describe, expect, test } from 'vitest'
import { ErrorReason } from '../../gen/atelier/v1/error_pb.ts'
import { type Task, type TaskError, TaskOperation, TaskState } from '../../gen/atelier/v1/task_pb.ts'
import type { TaskFilter } from '../../src/services/task-order.ts'
import { encodeCallback } from '../../src/tasks/callbacks/callback-body.ts'
import { callbackContent } from '../../src/wire/callback-content.ts'
import { startRestServer } from '../support/rest-server.ts'
import { interruptedTask, queuedTask, succeededTask } from '../support/tasks.ts'

async function startFinding(found: Task[] = []) {
  const filters: TaskFilter[] = []
  const server = await startRestServer({
    async findTasks(filter: TaskFilter) {
      filters.push(filter)
      return found
    }
  })
  return { ...server, filters, ask: (body: unknown) => server.send('POST', '/v1/openai/tasks', body) }
}

const delivered = {
  created: 1_777_048_800,
  data: [{ url: 'https://images.example/a', seed: 7, revised_prompt: 'a large cat' }],
  usage: { input_tokens: 5, output_tokens: 7, total_tokens: 12 },
  quality: 'standard',
  missing: [{ index: 1, outcome: 'moderated', message: 'withheld by the provider' }],
  atelier: {
    cost: { total_micros: 40_000, estimated: false },
    warnings: [{ kind: 'ignored', param: 'seed', message: 'dall-e-3 has no seeds' }]
  }
}

describe('retrieve', () => {
  test.each(['/v1/openai/tasks', '/openai/tasks'])('shows a task on %s', async (path) => {
    const { send, filters } = await startFinding([succeededTask()])
    const { status, body } = await send('POST', path, { action: 'retrieve', id: 'task_1' })
    expect([status, body, filters]).toEqual([
      200,
      {
        _id: 'task_1',
        id: 'task_1',
        trace_id: 'my-trace',
        type: 'images_generations',
        status: 'succeeded',
        application_id: 'org-1',
        user_id: 'org-1',
        credential_id: 'key-1',
        created_at: 1_777_048_800,
        finished_at: 1_777_048_860,
        duration: 60,
        request: { prompt: 'a cat', model: 'dall-e-3', n: 2, vendor_option: 7 },
        response: { success: true, task_id: 'task_1', trace_id: 'my-trace', data: delivered }
      },
      [{ ids: ['task_1'], limit: 1 }]
    ])
  })

  test('shows a task that runs without a response', async () => {
    const { ask } = await startFinding([queuedTask({ state: TaskState.RUNNING, operation: TaskOperation.EDIT })])
    const { body } = await ask({ action: 'retrieve', id: 'task_1' })
    expect(body).toMatchObject({ type: 'images_edits', status: 'running', trace_id: null })
    expect(Object.keys(body)).not.toEqual(expect.arrayContaining(['response']))
    expect('finished_at' in body || 'duration' in body || 'response' in body).toBe(false)
  })

  test('shows the error that a callback would carry', async () => {
    const { ask } = await startFinding([interruptedTask({ traceId: 'mine' })])
    expect((await ask({ action: 'retrieve', id: 'task_1' })).body.response).toEqual({
      success: false,
      task_id: 'task_1',
      error: { code: 'api_error', message: 'the answer of the provider openai was lost: the server ended' },
      trace_id: 'mine'
    })
  })

  test('looks for the trace id where both are given', async () => {
    const { ask, filters } = await startFinding()
    await ask({ action: 'retrieve', id: 'task_1', trace_id: 'mine' })
    expect(filters).toEqual([{ traceIds: ['mine'], limit: 1 }])
  })

  test('answers {} where there is no such task', async () => {
    const { ask } = await startFinding()
    const { status, body } = await ask({ action: 'retrieve', id: 'nobody' })
    expect([status, body]).toEqual([200, {}])
  })

  test('looks for an id with NUL without asking the database for one', async () => {
    const { ask, filters } = await startFinding()
    await ask({ action: 'retrieve', id: 'a\0b' })
    expect(filters).toEqual([{ ids: ['a\ufffdb'], limit: 1 }])
  })

  test.each<[string, unknown, RegExp]>([
    ['neither id nor trace id', { action: 'retrieve' }, /^missing required parameter: 'id'$/],
    ['a number for an id', { action: 'retrieve', id: 7 }, /^id: must be a string$/],
    ['a list for a trace id', { action: 'retrieve', id: 'x', trace_id: [] }, /^trace_id: must be a string$/],
    ['an id without end', { action: 'retrieve', id: 'x'.repeat(256) }, /^id: must be no longer than 255 characters$/]
  ])('refuses %s', async (_, body, message) => {
    const { ask, filters } = await startFinding()
    const answer = await ask(body)
    expect([answer.status, answer.body.success, answer.body.error, filters]).toEqual([
      400,
      false,
      { code: 'token_mismatched', message: expect.stringMatching(message) },
      []
    ])
  })
})

describe('retrieve_batch', () => {
  test('shows a page of tasks', async () => {
    const { ask, filters } = await startFinding([succeededTask(), queuedTask({ id: 'task_2' })])
    const { status, body } = await ask({ action: 'retrieve_batch' })
    expect([status, body.count, body.items.map((item: { id: string }) => item.id), filters]).toEqual([
      200,
      2,
      ['task_1', 'task_2'],
      [{ offset: 0, limit: 12 }]
    ])
  })

  test.each<[object, object]>([
    [{ ids: ['a', 'b'] }, { ids: ['a', 'b'] }],
    [{ trace_ids: ['a'], ids: null }, { traceIds: ['a'] }],
    [{ ids: [] }, { ids: [] }],
    [{ type: 'images_generations' }, { operations: [TaskOperation.GENERATION] }],
    [{ type: 'images_edits' }, { operations: [TaskOperation.EDIT] }],
    [{ type: 'images_variations' }, { operations: [TaskOperation.VARIATION] }],
    [{ type: 'images' }, { operations: [TaskOperation.GENERATION, TaskOperation.EDIT, TaskOperation.VARIATION] }],
    [
      { created_at_min: 1.2, created_at_max: 5.8 },
      { createdFrom: 2, createdTo: 5 }
    ],
    [
      { offset: 24, limit: 100 },
      { offset: 24, limit: 100 }
    ],
    [{ application_id: 'org-1', user_id: 'org-1' }, {}]
  ])('understands %o', async (fields, expected) => {
    const { ask, filters } = await startFinding()
    expect((await ask({ action: 'retrieve_batch', ...fields })).body).toEqual({ items: [], count: 0 })
    expect(filters).toEqual([{ offset: 0, limit: 12, ...expected }])
  })

  test.each(['application_id', 'user_id'])('finds nothing of another %s', async (param) => {
    const { ask, filters } = await startFinding([succeededTask()])
    expect((await ask({ action: 'retrieve_batch', [param]: 'org-2' })).body).toEqual({ items: [], count: 0 })
    expect(filters).toEqual([])
  })

  test.each<[object, RegExp]>([
    [{ ids: 'a' }, /^ids: must be an array of strings$/],
    [{ ids: ['a', 7] }, /^ids\[1\]: must be a string$/],
    [{ ids: Array(101).fill('a') }, /^ids: must hold at most 100 strings, not 101$/],
    [{ type: 'videos' }, /^type: must be images, images_generations, images_edits, images_variations, not "videos"$/],
    [{ type: 7 }, /^type: must be a string$/],
    [{ limit: 0 }, /^limit: must be a whole number from 1 to 100$/],
    [{ limit: '12' }, /^limit: must be a whole number/],
    [{ limit: 1.5 }, /^limit: must be a whole number/],
    [{ offset: -1 }, /^offset: must be a whole number from 0 to 1000000$/],
    [{ offset: 1e300 }, /^offset: must be a whole number/],
    [{ created_at_min: 'yesterday' }, /^created_at_min: must be a time in Unix seconds$/],
    [{ created_at_max: 1e300 }, /^created_at_max: must be a time in Unix seconds$/],
    [{ user_id: {} }, /^user_id: must be a string$/]
  ])('refuses %o', async (fields, message) => {
    const { ask, filters } = await startFinding()
    const { status, body } = await ask({ action: 'retrieve_batch', ...fields })
    expect([status, body.error, filters]).toEqual([400, { code: 'token_mismatched', message: expect.stringMatching(message) }, []])
  })
})

describe('any other action', () => {
  test.each<[unknown, string]>([
    [{ action: 'delete' }, 'not "delete"'],
    [{ action: ['retrieve'] }, 'not ["retrieve"]'],
    [{ action: { toString: 1 } }, 'not {"toString":1}'],
    [{ action: 7 }, 'not 7'],
    [{ action: null }, 'not null'],
    [{}, 'not nothing'],
    [{ action: 'x'.repeat(5000) }, `not "${'x'.repeat(59)}`]
  ])('is refused and named: %j', async (body, named) => {
    const { ask } = await startFinding()
    const { status, body: answer } = await ask(body)
    expect([status, answer.error]).toEqual([
      400,
      { code: 'token_mismatched', message: `action: must be "retrieve" or "retrieve_batch", ${named}` }
    ])
  })

  test.each(['[]', 'null', '"retrieve"', '{"action":'])('is refused where the body is %s', async (body) => {
    const { ask } = await startFinding()
    const answer = await ask(body)
    expect([answer.status, answer.body.error.code]).toEqual([400, 'token_mismatched'])
  })
})

describe('the body of a callback', () => {
  const told = (task: Task) => {
    const content = callbackContent(task)
    return content && JSON.parse(encodeCallback(content))
  }

  test('carries the result as a synchronous answer does', () => {
    expect(told(succeededTask())).toEqual({ success: true, task_id: 'task_1', trace_id: 'my-trace', data: delivered })
  })

  test('is not there before the task is final', () => {
    expect([queuedTask(), queuedTask({ state: TaskState.RUNNING })].map(told)).toEqual([undefined, undefined])
  })

  test.each<[keyof typeof ErrorReason, string]>([
    ['MODEL_NOT_FOUND', 'api_not_implemented'],
    ['CONTENT_POLICY_VIOLATION', 'token_mismatched'],
    ['PROVIDER_RATE_LIMITED', 'too_many_requests'],
    ['CANCELLED', 'token_mismatched'],
    ['OUTCOME_UNKNOWN', 'api_error'],
    ['UNSPECIFIED', 'api_error']
  ])('names %s as a synchronous answer does', (reason, code) => {
    const error = { ...interruptedTask().error, reason: ErrorReason[reason], message: 'no' } as TaskError
    expect(told(interruptedTask({ error, traceId: 'mine' }))).toEqual({
      success: false,
      task_id: 'task_1',
      error: { code, message: 'no' },
      trace_id: 'mine'
    })
  })
})
