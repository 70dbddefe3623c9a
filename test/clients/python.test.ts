import { afterAll, beforeEach, expect, test } from 'vitest'
import { download, startGateway } from '../support/gateway.ts'
import { generatePythonClient, needsPython, type PythonCall, type PythonClient, type PythonResult } from '../support/python-client.ts'

const gateway = await startGateway()
let python: PythonClient | undefined
beforeEach(async (context) => {
  needsPython(context)
  python ??= await generatePythonClient()
})
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await python?.[Symbol.asyncDispose]()
})

test("gets gpt-image-2's image as bytes", async () => {
  const prompt = 'bytes for Python'
  const { answer, headers } = await call({ request: { prompt, model: 'MODEL_GPT_IMAGE_2' } })
  expect(Buffer.from(answer?.images[0]?.data ?? '', 'base64')).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
  expect([answer?.images[0]?.media_type, answer?.provider, answer?.model]).toEqual(['image/png', 'openai', 'gpt-image-2'])
  expect(headers).toMatchObject({ 'x-atelier-provider': 'openai', 'x-atelier-model': 'gpt-image-2' })
})

test("gets dall-e-3's image as a link, with the revised prompt", async () => {
  const prompt = 'a link for Python'
  const { answer } = await call({ request: { prompt, model_name: 'openai/dall-e-3' } })
  expect(answer?.images[0]?.revised_prompt).toBe(`A detailed, high-quality image of the following: ${prompt}`)
  expect(await download(answer?.images[0]?.url)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
})

test.each([
  ['INVALID_ARGUMENT', 'MISSING_PARAMETER', 'prompt', {}],
  ['INVALID_ARGUMENT', 'INVALID_SIZE', 'size', { prompt: 'a cat', model: 'MODEL_DALL_E_3', size: 'SIZE_512X512' }],
  ['INVALID_ARGUMENT', 'CONTENT_POLICY_VIOLATION', undefined, { prompt: '[moderated]', model: 'MODEL_DALL_E_3' }],
  ['NOT_FOUND', 'MODEL_NOT_FOUND', 'model', { prompt: 'a cat', model_name: 'dall-e-9' }],
  ['INTERNAL', 'PROVIDER_FAILED', undefined, { prompt: '[server-error]', model: 'MODEL_DALL_E_3' }],
  ['FAILED_PRECONDITION', 'PROVIDER_KEY_MISSING', undefined, { prompt: 'a cat', model_name: 'sd3.5-large' }]
])('gets %s and reads %s out of its details', async (code, reason, field, request) => {
  const { details, ...rest } = await call({ request })
  expect(rest).toEqual({ code, message: expect.any(String) })
  expect(details?.ErrorInfo).toMatchObject({ reason, domain: 'atelier.v1' })
  expect(details?.BadRequest).toEqual(field === undefined ? undefined : { field_violations: [{ field, description: rest.message }] })
})

test('reads how long to wait', async () => {
  const { code, details } = await call({ request: { prompt: '[rate-limit]', model: 'MODEL_DALL_E_3' } })
  expect([code, details?.RetryInfo]).toEqual(['RESOURCE_EXHAUSTED', { retry_delay: '12s' }])
})

test('is refused with a wrong key', async () => {
  const { code, details } = await call({ request: { prompt: 'a cat' }, key: 'sk-wrong-key-of-a-stranger' })
  expect([code, details?.ErrorInfo?.reason]).toEqual(['UNAUTHENTICATED', 'INVALID_API_KEY'])
})

test('asks the provider once where it fails', async () => {
  const prompt = '[server-error] for Python'
  expect((await call({ request: { prompt, model: 'MODEL_DALL_E_3' } })).code).toBe('INTERNAL')
  expect(gateway.upstreamCalls(prompt)).toBe(1)
})

test('stops the upstream call by its deadline and by cancelling, where it wishes that', async () => {
  const stopped = { model: 'MODEL_DALL_E_3', onDisconnect: 'ON_DISCONNECT_CANCEL' }
  const prompts = ['[hang] until the deadline of Python', '[hang] until Python cancels'] as const
  const [late, cancelled] = await calls([
    { request: { prompt: prompts[0], ...stopped }, timeout: 0.5 },
    { request: { prompt: prompts[1], ...stopped }, cancel_after: 0.5 }
  ])
  expect([late?.code, cancelled?.code]).toEqual(['DEADLINE_EXCEEDED', 'CANCELLED'])
  expect([await gateway.upstreamEnd(prompts[0]), await gateway.upstreamEnd(prompts[1])]).toEqual(['abandoned', 'abandoned'])
})

async function call(one: PythonCall): Promise<PythonResult> {
  const [result] = await calls([one])
  return result ?? {}
}

async function calls(several: readonly PythonCall[]): Promise<PythonResult[]> {
  return python?.run(gateway, several) ?? []
}
