import { afterAll, describe, expect, test } from 'vitest'
import { startCallbackReceiver } from '../support/callback-receiver.ts'
import { download, startGateway } from '../support/gateway.ts'
import { readTask } from '../support/task-client.ts'

const receiver = await startCallbackReceiver()
const gateway = await startGateway({ settings: { egressAllow: [`127.0.0.1:${receiver.port}`] } })
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await receiver[Symbol.asyncDispose]()
})

const generations = '/v1/openai/images/generations'
const permanent = /^http:\/\/127\.0\.0\.1:\d+\/images\/[0-9A-Za-z]{30}\.png$/

describe.each(['/v1/openai', '/openai'])('below %s', (prefix) => {
  test('an answer says success, names its task and its trace, and links for ever', async () => {
    const prompt = `an otter below ${prefix}`
    const { status, body } = await ask(`${prefix}/images/generations`, { model: 'dall-e-3', prompt, trace_id: 'mine' })
    expect([status, body]).toEqual([
      200,
      {
        success: true,
        task_id: expect.stringMatching(/^task_/),
        trace_id: 'mine',
        created: expect.any(Number),
        data: [
          {
            url: expect.stringMatching(permanent),
            revised_prompt: `A detailed, high-quality image of the following: ${prompt}`
          }
        ]
      }
    ])
    expect(await download(body.data[0].url)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
  })

  test('a task is found by its id and by its trace, with the request and what was called back', async () => {
    const path = `/called-back${prefix}`
    const asked = { model: 'dall-e-3', prompt: `called back below ${prefix}`, callback_url: receiver.origin + path, trace_id: path }
    const { status, body } = await ask(`${prefix}/images/generations`, asked)
    expect([status, body]).toEqual([200, { task_id: expect.stringMatching(/^task_/), trace_id: path }])
    const [callback] = await receiver.waitFor(path, 1)
    const told = JSON.parse(callback?.body ?? '')
    expect(told.data.data[0].url).toMatch(permanent)
    const byId = await ask(`${prefix}/tasks`, { action: 'retrieve', id: body.task_id })
    expect([byId.status, byId.body]).toMatchObject([
      200,
      { id: body.task_id, trace_id: path, type: 'images_generations', status: 'succeeded', response: told }
    ])
    expect(byId.body.request).toMatchObject({ model: 'dall-e-3', prompt: asked.prompt })
    const byTrace = await ask(`${prefix}/tasks`, { action: 'retrieve', trace_id: path })
    expect(byTrace.body).toEqual(byId.body)
    const batch = await ask(`${prefix}/tasks`, { action: 'retrieve_batch', ids: [body.task_id, 'task_0000000000000000000000'] })
    expect(batch.body).toEqual({ items: [byId.body], count: 1 })
  })

  test('a synchronous request can be looked up as well, and one that is not there is an empty object', async () => {
    const { body } = await ask(`${prefix}/images/generations`, { model: 'sketch', prompt: 'looked up', size: '64x64' })
    const found = await ask(`${prefix}/tasks`, { action: 'retrieve', id: body.task_id })
    expect(found.body).toMatchObject({ id: body.task_id, status: 'succeeded', response: { success: true, task_id: body.task_id } })
    expect(await ask(`${prefix}/tasks`, { action: 'retrieve', id: 'task_0000000000000000000000' })).toEqual({ status: 200, body: {} })
  })
})

test.each([
  ['an illegal size', { model: 'dall-e-3', prompt: 'a cat', size: '1x1' }, 400, 'token_mismatched'],
  ['no prompt', { model: 'dall-e-3' }, 400, 'token_mismatched'],
  ['an unknown model', { model: 'dall-e-9', prompt: 'a cat' }, 400, 'api_not_implemented'],
  ['a refusal', { model: 'dall-e-3', prompt: '[moderated]' }, 400, 'token_mismatched'],
  ['too many requests', { model: 'dall-e-3', prompt: '[rate-limit]' }, 429, 'too_many_requests'],
  ['a failing provider', { model: 'dall-e-3', prompt: '[server-error]' }, 500, 'api_error']
])('%s is told in the five codes of that document', async (_, asked, status, code) => {
  const answer = await ask(generations, { ...asked, trace_id: 'wrong' })
  expect([answer.status, answer.body.success, answer.body.error, answer.body.trace_id]).toEqual([
    status,
    false,
    { code, message: expect.any(String) },
    'wrong'
  ])
})

test('a wrong key and an unknown route are told likewise', async () => {
  const wrongKey = await ask(generations, { prompt: 'a cat' }, { authorization: 'Bearer sk-wrong-key-of-a-stranger' })
  const unknownRoute = await ask('/v1/openai/videos', {})
  expect([wrongKey.status, wrongKey.body.error.code, unknownRoute.status, unknownRoute.body.error.code]).toEqual([
    401,
    'invalid_token',
    400,
    'api_not_implemented'
  ])
})

test('the task of a failure keeps its error in the words of the other routes', async () => {
  const { body } = await ask(generations, { model: 'dall-e-3', prompt: '[server-error] looked up' })
  expect(await readTask(gateway, body.task_id)).toMatchObject({ status: 'failed', error: { code: 'provider_failed' }, may_be_billed: true })
})

test('gpt-image makes one image here, whatever n says, and tells it', async () => {
  const response = await gateway.post(generations, { model: 'gpt-image-2', prompt: 'ten', n: 10 })
  const { data } = await response.json()
  expect([data.length, response.headers.get('x-atelier-warnings')]).toEqual([1, expect.stringMatching(/^n=clamped;/)])
})

async function ask(path: string, asked: Record<string, unknown>, headers: Record<string, string> = {}) {
  const response = await gateway.post(path, asked, headers)
  return { status: response.status, body: await response.json() }
}
