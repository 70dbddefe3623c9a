import type { MessageInitShape } from '@bufbuild/protobuf'
import { createClient } from '@connectrpc/connect'
import sharp from 'sharp'
import { afterAll, expect, test } from 'vitest'
import { ApiKeyScope } from '../../gen/atelier/v1/api_key_pb.ts'
import { type CreateTaskRequestSchema, TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import { adminOf, connectWith, createKey, refusalOf } from '../support/admin.ts'
import { startAtelier } from '../support/atelier.ts'
import { startFakeOpenAI } from '../support/fake-openai.ts'
import { generations, readTask, submit } from '../support/task-client.ts'

const { GENERATE, EDIT } = ApiKeyScope

const atelier = await startAtelier()
afterAll(() => atelier[Symbol.asyncDispose]())

const parameters = { prompt: 'a cat', modelSelector: { case: 'modelName', value: 'sketch' } } as const
const data = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } })
  .png()
  .toBuffer()
const image = { source: { case: 'data', value: data } } as const
const operations = {
  generation: { case: 'generation', value: parameters },
  edit: { case: 'edit', value: { parameters, images: [image] } },
  variation: { case: 'variation', value: { parameters: { ...parameters, prompt: '' }, image } }
} as const satisfies Record<string, MessageInitShape<typeof CreateTaskRequestSchema>['operation']>

test.each([
  ['generation', GENERATE, EDIT, 'use models'],
  ['edit', EDIT, GENERATE, 'edit images'],
  ['variation', EDIT, GENERATE, 'edit images']
] as const)('a task is accepted from a key that may do what it does: %s', async (operation, scope, other, action) => {
  const request = { operation: operations[operation] }
  const able = tasksWith((await createKey(atelier, { scopes: [scope] })).key)
  expect((await able.createTask(request)).task?.id).toMatch(/^task_/)
  const unable = tasksWith((await createKey(atelier, { scopes: [other] })).key)
  expect(await refusalOf(unable.createTask(request))).toEqual(['PermissionDenied', `this API key may not ${action}`])
})

test.each(['generation', 'edit', 'variation'] as const)('no task gets around the limits of a key: %s', async (operation) => {
  const { key } = await createKey(atelier, { limits: { models: ['gpt-image-*'] } })
  expect(await refusalOf(tasksWith(key).createTask({ operation: operations[operation] }))).toEqual([
    'PermissionDenied',
    'this API key may not use the model sketch'
  ])
})

test('a task is carried out by a provider that its key may use, whichever comes first', async () => {
  await using first = await startFakeOpenAI()
  await using second = await startFakeOpenAI()
  const providers = [
    { name: 'openai', adapter: 'openai', baseUrl: first.url, apiKey: 'sk-first', models: [], headers: {}, maxConnections: 1 },
    { name: 'backup', adapter: 'openai', baseUrl: second.url, apiKey: 'sk-second', models: [], headers: {}, maxConnections: 1 }
  ]
  await using served = await startAtelier({ settings: { providers } })
  const { key } = await createKey(served, { limits: { providers: ['backup'] } })
  const { id } = await submit(served, { model: 'dall-e-3', prompt: 'a cat' }, { authorization: `Bearer ${key}` })
  expect((await readTask(served, id)).status).toBe('succeeded')
  expect([first, second].map(({ requests }) => requests.filter(({ method }) => method === 'POST').length)).toEqual([0, 1])
})

test('a key that may only read tasks cannot make, stop or delete anything', async () => {
  const { id } = await submit(atelier, { model: 'sketch', prompt: 'to be read', size: '64x64' })
  const done = await readTask(atelier, id)
  const { key } = await createKey(atelier, { scopes: [ApiKeyScope.READ_TASKS] })
  const statusOf = async (method: string, path: string, body?: string) => {
    const headers = { authorization: `Bearer ${key}`, ...(body !== undefined && { 'content-type': 'application/json' }) }
    const response = await fetch(atelier.url + path, { method, headers, ...(body !== undefined && { body }) })
    await response.arrayBuffer()
    return response.status
  }
  const imageId = /\/images\/([0-9A-Za-z]+)/.exec(done.result?.data[0]?.url ?? '')?.[1]
  expect(await statusOf('GET', `/v1/tasks/${id}`)).toBe(200)
  expect([
    await statusOf('POST', generations, '{"prompt":"x","model":"sketch"}'),
    await statusOf('DELETE', `/v1/tasks/${id}`),
    await statusOf('DELETE', `/v1/images/${imageId}`)
  ]).toEqual([403, 403, 403])
})

test('a task that was accepted is carried out, although its key has been revoked since', async () => {
  await using slow = await startAtelier({ settings: { maxRunningTasks: 1 } })
  const { id: keyId, key } = await createKey(slow)
  const withKey = { authorization: `Bearer ${key}` }
  const accepted = []
  for (const prompt of ['one', 'two', 'three']) {
    accepted.push(await submit(slow, { model: 'sketch', prompt, size: '2048x2048' }, withKey))
  }
  await adminOf(slow).revokeApiKey({ id: keyId })
  for (const { id } of accepted) expect((await readTask(slow, id)).status).toBe('succeeded')
})

function tasksWith(key: string) {
  return createClient(TaskService, connectWith(atelier.url, key))
}
