import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { afterAll, describe, expect, test } from 'vitest'
import { TaskState } from '../../gen/atelier/v1/task_pb.ts'
import { TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import { startAtelier } from '../support/atelier.ts'
import { download, startGateway } from '../support/gateway.ts'
import { createOrganization, generations, listTasks, type RestTask, readTask, send, submit } from '../support/task-client.ts'

const gateway = await startGateway({ openai: { slowMs: 1500 } })
afterAll(() => gateway[Symbol.asyncDispose]())

const tasks = createClient(TaskService, createGrpcTransport({ baseUrl: gateway.url }))
const authorized = { headers: { authorization: `Bearer ${gateway.apiKey}` } }

describe('a request in the background', () => {
  test('is acknowledged at once, waited for, listed, and its links lead to the image', async () => {
    const prompt = 'a heron in the background'
    const response = await gateway.post(generations, { model: 'dall-e-3', prompt, trace_id: 'my heron' }, { prefer: 'respond-async' })
    const accepted = (await response.json()) as RestTask
    expect([response.status, response.headers.get('location'), response.headers.get('x-atelier-task-id'), accepted.trace_id]).toEqual([
      202,
      `/v1/tasks/${accepted.id}`,
      accepted.id,
      'my heron'
    ])
    const done = await readTask(gateway, accepted.id)
    expect(done).toMatchObject({ status: 'succeeded', operation: 'generation', progress: 1, error: null, parameters: { prompt } })
    expect(done.attempts).toMatchObject([{ part: 0, ordinal: 0, provider: 'openai', status: 'succeeded', cost_micros: 40_000 }])
    const [image] = done.result?.data ?? []
    expect(image?.revised_prompt).toBe(`A detailed, high-quality image of the following: ${prompt}`)
    expect(await download(image?.url)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
    const { data } = await listTasks(gateway, '?trace_id=my%20heron')
    expect(data.map(({ id, status, progress, result }) => [id, status, progress, result])).toEqual([[done.id, 'succeeded', 1, undefined]])
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })

  test('is kept for a week after it has become final', async () => {
    const { id } = await submit(gateway, { model: 'sketch', prompt: 'kept', size: '64x64' })
    const { finished_at, expires_at } = await readTask(gateway, id)
    expect((expires_at ?? 0) - (finished_at ?? 0)).toBe(7 * 86_400)
  })

  test('leaves a line in the log when it is final, without its prompt', async () => {
    const served = await submit(gateway, { model: 'sketch', prompt: 'a secret swan', size: '64x64' })
    const refused = await submit(gateway, { model: 'dall-e-3', prompt: '[moderated] secret swan' })
    for (const { id } of [served, refused]) await readTask(gateway, id)
    const lines = gateway.logLines.map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ msg }) => msg === 'task')
    const lineOf = (id: string) => lines.find(({ task }) => task === id)
    expect(lineOf(served.id)).toMatchObject({ state: 'succeeded', outcome: 'ok', organization: 'default', provider: 'sketch', images: 1 })
    expect(lineOf(refused.id)).toMatchObject({ state: 'failed', outcome: 'CONTENT_POLICY_VIOLATION', provider: 'openai', images: 0 })
    expect(gateway.logLines.join('')).not.toContain('secret swan')
  })

  test('is refused at once where it could not be carried out', async () => {
    const refusal = async (body: Record<string, unknown>) => {
      const response = await gateway.post(generations, { prompt: 'a cat', ...body }, { prefer: 'respond-async' })
      return [response.status, (await response.json()).error.code]
    }
    expect(await refusal({ model: 'dall-e-9' })).toEqual([404, 'model_not_found'])
    expect(await refusal({ model: 'dall-e-3', size: '1x1' })).toEqual([400, 'invalid_size'])
    expect(await refusal({ model: 'sketch', callback_url: 'http://10.0.0.1/hook' })).toEqual([400, 'invalid_value'])
  })

  test('that fails says why, and whether it may have been billed', async () => {
    const moderated = await submit(gateway, { model: 'dall-e-3', prompt: '[moderated] in the background' })
    expect(await readTask(gateway, moderated.id)).toMatchObject({
      status: 'failed',
      result: null,
      error: { code: 'content_policy_violation' },
      may_be_billed: false
    })
    const lost = await submit(gateway, { model: 'dall-e-3', prompt: '[reset] in the background' })
    expect(await readTask(gateway, lost.id)).toMatchObject({
      status: 'failed',
      error: { code: 'outcome_unknown' },
      retryable: false,
      may_be_billed: true,
      attempts: [{ status: 'unknown' }]
    })
    expect(gateway.upstreamCalls('[reset] in the background')).toBe(1)
  })

  test('shows at most as many as were asked for, and the way to the next ones', async () => {
    await using atelier = await startAtelier()
    const made: string[] = []
    for (const prompt of ['one', 'two', 'three']) made.push((await submit(atelier, { model: 'sketch', prompt, size: '64x64' })).id)
    const first = await listTasks(atelier, '?limit=2')
    const second = await listTasks(atelier, `?limit=2&after=${first.next}`)
    expect([first.has_more, second.has_more, second.next]).toEqual([true, false, null])
    expect([...first.data, ...second.data].map(({ id }) => id)).toEqual(made.reverse())
  })
})

test('wait holds the answer no longer than it says', async () => {
  const { id } = await submit(gateway, { model: 'sketch', prompt: 'slow', delay_ms: 4_000, size: '64x64' })
  expect((await readTask(gateway, id, { wait: 1 })).status).toBe('running')
  expect((await readTask(gateway, id, { wait: 15 })).status).toBe('succeeded')
})

test('WatchTask tells every change until the task is final, and goes on after a revision', async () => {
  const { task } = await tasks.createTask(
    {
      operation: {
        case: 'generation',
        value: { prompt: 'watched', modelSelector: { case: 'modelName', value: 'sketch' }, providerOptions: { delay_ms: 500 } }
      }
    },
    authorized
  )
  const id = task?.id ?? ''
  const seen: { state: TaskState; revision: bigint }[] = []
  for await (const { task } of tasks.watchTask({ id }, authorized)) {
    if (task) seen.push({ state: task.state, revision: task.revision })
  }
  expect(seen.at(-1)?.state).toBe(TaskState.SUCCEEDED)
  expect(seen.map(({ state }) => state)).toContain(TaskState.RUNNING)
  const resumed = await Array.fromAsync(tasks.watchTask({ id, afterRevision: seen.at(-2)?.revision ?? 0n }, authorized))
  expect(resumed.map(({ task }) => task?.state)).toEqual([TaskState.SUCCEEDED])
})

describe('DELETE /v1/tasks/{id}', () => {
  test('ends a queued task before anything is sent', async () => {
    await using small = await startGateway({ settings: { maxRunningTasks: 1 } })
    const first = await submit(small, { model: 'sketch', prompt: 'first', delay_ms: 60_000, size: '64x64' })
    const second = await submit(small, { model: 'dall-e-3', prompt: 'second' })
    expect((await readTask(small, second.id, { wait: 0 })).status).toBe('queued')
    const cancelled = (await (await send(small, 'DELETE', `/v1/tasks/${second.id}`)).json()) as RestTask
    expect([cancelled.status, cancelled.attempts]).toEqual(['cancelled', []])
    await send(small, 'DELETE', `/v1/tasks/${first.id}`)
    expect((await readTask(small, first.id)).status).toBe('cancelled')
    expect(small.upstreamCalls('second')).toBe(0)
  })

  test('closes the call to the provider of a running one', async () => {
    const prompt = '[hang] to be cancelled'
    const { id } = await submit(gateway, { model: 'dall-e-3', prompt })
    await expect.poll(() => gateway.upstreamCalls(prompt)).toBe(1)
    await send(gateway, 'DELETE', `/v1/tasks/${id}`)
    expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
    expect(await readTask(gateway, id)).toMatchObject({ status: 'cancelled', may_be_billed: true, attempts: [{ status: 'unknown' }] })
  })

  test('stops what a caller waits for, who is told', async () => {
    const prompt = '[hang] with somebody waiting'
    const waiting = gateway.post(generations, { model: 'dall-e-3', prompt, trace_id: 'waiting' })
    await expect.poll(() => gateway.upstreamCalls(prompt)).toBe(1)
    const { data } = await listTasks(gateway, '?trace_id=waiting')
    await send(gateway, 'DELETE', `/v1/tasks/${data[0]?.id}`)
    const response = await waiting
    expect([response.status, (await response.json()).error.code]).toEqual([499, 'cancelled'])
    expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
  })

  test('leaves a final task as it is', async () => {
    const { id } = await submit(gateway, { model: 'sketch', prompt: 'over', size: '64x64' })
    await readTask(gateway, id)
    const response = await send(gateway, 'DELETE', `/v1/tasks/${id}`)
    expect([response.status, ((await response.json()) as RestTask).status]).toEqual([200, 'succeeded'])
  })
})

describe('a caller who is gone', () => {
  test('fetches the paid image by the id that the answer began with', async () => {
    const prompt = '[large] cut off in the middle'
    const gone = new AbortController()
    const response = await fetch(gateway.url + generations, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'gpt-image-2', prompt }),
      signal: gone.signal
    })
    await response.body?.getReader().read()
    gone.abort()
    const task = await readTask(gateway, response.headers.get('x-atelier-task-id'))
    expect(task.status).toBe('succeeded')
    expect(await download(task.result?.data[0]?.url)).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })

  test('because of its own time limit is told the id with the 504, and finds the image there', async () => {
    const prompt = '[slow] beyond the time limit'
    const response = await gateway.post(generations, { model: 'dall-e-3', prompt }, { 'x-stainless-timeout': '0.5' })
    const { error } = (await response.json()) as { error: { code: string } }
    expect([response.status, error.code, response.headers.get('x-should-retry')]).toEqual([504, 'deadline_exceeded', 'false'])
    const task = await readTask(gateway, response.headers.get('x-atelier-task-id'))
    expect([task.status, await gateway.upstreamEnd(prompt)]).toEqual(['succeeded', 'answered'])
    expect(await download(task.result?.data[0]?.url)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
  })
})

describe('another organization', () => {
  test('sees nothing of a task, which is as unknown to it as one that never was', async () => {
    const key = await createOrganization(gateway, 'others')
    const { id } = await submit(gateway, { model: 'sketch', prompt: 'mine', size: '64x64' })
    await readTask(gateway, id)
    const answers: unknown[] = []
    for (const of of [id, 'task_0000000000000000000000']) {
      for (const [method, path] of [
        ['GET', `/v1/tasks/${of}`],
        ['DELETE', `/v1/tasks/${of}`],
        ['POST', `/v1/tasks/${of}/callback`]
      ] as const) {
        const response = await send(gateway, method, path, key)
        answers.push([response.status, (await response.json()).error])
      }
    }
    const unknown = [404, { message: expect.any(String), type: 'invalid_request_error', param: null, code: 'task_not_found' }]
    expect(answers).toEqual(answers.map(() => unknown))
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1)
    const list = (await (await send(gateway, 'GET', '/v1/tasks', key)).json()) as { data: RestTask[] }
    expect(list.data).toEqual([])
  })
})

describe('with tasks: off', () => {
  test('everything about tasks is refused, and says so', async () => {
    await using atelier = await startAtelier({ settings: { tasks: 'off' } })
    const refusals: unknown[] = []
    for (const [body, headers] of [
      [{}, { prefer: 'respond-async' }],
      [{ callback_url: 'https://receiver.example/hook' }, {}],
      [{}, { 'idempotency-key': 'one' }]
    ] as const) {
      const response = await atelier.post(generations, { model: 'sketch', prompt: 'a cat', size: '64x64', ...body }, headers)
      refusals.push([response.status, (await response.json()).error.code])
    }
    for (const path of ['/v1/tasks', '/v1/tasks/task_0000000000000000000000']) {
      const response = await atelier.get(path)
      refusals.push([response.status, (await response.json()).error.code])
    }
    expect(refusals).toEqual([
      [400, 'tasks_unavailable'],
      [400, 'tasks_unavailable'],
      [400, 'idempotency_unavailable'],
      [400, 'tasks_unavailable'],
      [404, 'task_not_found']
    ])
    const plain = await atelier.post(generations, { model: 'sketch', prompt: 'a cat', size: '64x64' })
    expect([plain.status, plain.headers.get('x-atelier-task-id')]).toEqual([200, null])
  })
})

describe('how long a result is kept', () => {
  test('whose caller got it: as long as the settings say, and no longer', async () => {
    await using atelier = await startAtelier({ settings: { keepResultsSeconds: 1 } })
    const body = { model: 'sketch', prompt: 'short-lived', size: '64x64', response_format: 'b64_json' }
    const response = await atelier.post(generations, body)
    const id = response.headers.get('x-atelier-task-id')
    await response.arrayBuffer()
    expect((await readTask(atelier, id)).status).toBe('succeeded')
    await sleep(2_000)
    await expect.poll(async () => (await atelier.get(`/v1/tasks/${id}`)).status, { timeout: 5_000 }).toBe(404)
  })

  test('with a request id: for a day', async () => {
    const response = await gateway.post(
      generations,
      { model: 'sketch', prompt: 'keyed', size: '64x64' },
      { 'idempotency-key': 'for a day' }
    )
    await response.arrayBuffer()
    const id = response.headers.get('x-atelier-task-id')
    await expect
      .poll(async () => {
        const { finished_at, expires_at } = await readTask(gateway, id)
        return (expires_at ?? 0) - (finished_at ?? 0)
      })
      // From the time on when its caller had it, which may be the next second.
      .toBeOneOf([86_400, 86_401])
  })
})
