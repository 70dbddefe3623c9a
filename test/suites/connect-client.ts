import type { Transport } from '@connectrpc/connect'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { expect, test } from 'vitest'
import { ImageService, OnDisconnect } from '../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { download, type Gateway } from '../support/gateway.ts'

/** What every client of connect-es must see of a gateway, whichever protocol it speaks; `name` sets its prompts apart. */
export function testConnectClient(name: string, gateway: Gateway, transport: Transport): void {
  const images = createClient(ImageService, transport)
  const models = createClient(ModelService, transport)
  const authorized = { headers: { authorization: `Bearer ${gateway.apiKey}` } }
  const dallE3 = { case: 'model', value: Model.DALL_E_3 } as const
  const cancelled = (prompt: string) => ({ prompt, modelSelector: dallE3, onDisconnect: OnDisconnect.CANCEL })
  const gptImage2 = { case: 'model', value: Model.GPT_IMAGE_2 } as const

  test("gets gpt-image-2's image as bytes", async () => {
    const prompt = `bytes for ${name}`
    const response = await images.generateImages({ prompt, modelSelector: gptImage2 }, authorized)
    const image = await gateway.upstreamImage({ model: 'gpt-image-2', prompt })
    expect(response.images.map(({ content, mediaType }) => ({ content, mediaType }))).toEqual([
      { content: { case: 'data', value: new Uint8Array(image) }, mediaType: 'image/png' }
    ])
    expect([response.provider, response.model, response.usage?.outputTokens]).toEqual(['openai', 'gpt-image-2', 1756n])
  })

  test("gets dall-e-3's image as a link, with the revised prompt and the headers that say who served", async () => {
    const prompt = `a link for ${name}`
    const served: Record<string, string | null> = {}
    const response = await images.generateImages(
      { prompt, modelSelector: dallE3 },
      {
        ...authorized,
        onHeader: (headers) => {
          for (const header of ['x-atelier-provider', 'x-atelier-model']) served[header] = headers.get(header)
        }
      }
    )
    expect(response.images[0]?.revisedPrompt).toBe(`A detailed, high-quality image of the following: ${prompt}`)
    const content = response.images[0]?.content
    expect(await download(content?.case === 'url' ? content.value : '')).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
    expect(served).toEqual({ 'x-atelier-provider': 'openai', 'x-atelier-model': 'dall-e-3' })
  })

  test('lists models and finds one', async () => {
    const { models: listed } = await models.listModels({}, authorized)
    expect(listed.map(({ id }) => id)).toEqual(expect.arrayContaining(['gpt-image-2', 'dall-e-3', 'sketch']))
    const { model } = await models.getModel({ name: 'openai/dall-e-3' }, authorized)
    expect(model).toMatchObject({ id: 'dall-e-3', model: Model.DALL_E_3, provider: 'openai', shutdownDate: '2026-05-12' })
  })

  test.each([
    ['MISSING_PARAMETER', Code.InvalidArgument, 'prompt', { prompt: '', modelSelector: dallE3 }],
    [
      'INVALID_SIZE',
      Code.InvalidArgument,
      'size',
      { prompt: 'a cat', modelSelector: dallE3, sizeSelector: { case: 'dimensions', value: { width: 9, height: 9 } } }
    ],
    ['MODEL_NOT_FOUND', Code.NotFound, 'model', { prompt: 'a cat', modelSelector: { case: 'modelName', value: 'dall-e-9' } }],
    ['CONTENT_POLICY_VIOLATION', Code.InvalidArgument, undefined, { prompt: '[moderated]', modelSelector: dallE3 }],
    ['PROVIDER_RATE_LIMITED', Code.ResourceExhausted, undefined, { prompt: '[rate-limit]', modelSelector: dallE3 }],
    ['PROVIDER_FAILED', Code.Internal, undefined, { prompt: '[server-error]', modelSelector: dallE3 }],
    [
      'PROVIDER_KEY_MISSING',
      Code.FailedPrecondition,
      undefined,
      { prompt: 'a cat', modelSelector: { case: 'modelName', value: 'sd3.5-large' } }
    ]
  ] as const)('reads %s out of an error', async (reason, code, field, request) => {
    const error = await failureOf(images.generateImages(request, authorized))
    const [info] = error.findDetails(ErrorInfoSchema)
    expect([error.code, info?.reason, info?.domain, info?.metadata.requestId]).toEqual([
      code,
      reason,
      'atelier.v1',
      expect.stringMatching(/^req_/)
    ])
    expect(error.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field).toBe(field)
    expect(error.findDetails(RetryInfoSchema)[0]?.retryDelay?.seconds).toBe(reason === 'PROVIDER_RATE_LIMITED' ? 12n : undefined)
  })

  test('is refused with a wrong key', async () => {
    const error = await failureOf(
      images.generateImages({ prompt: 'a cat' }, { headers: { authorization: 'Bearer sk-wrong-key-of-a-stranger' } })
    )
    expect([error.code, error.findDetails(ErrorInfoSchema)[0]?.reason]).toEqual([Code.Unauthenticated, 'INVALID_API_KEY'])
  })

  test('asks the provider once where it fails', async () => {
    const prompt = `[server-error] for ${name}`
    const error = await failureOf(images.generateImages({ prompt, modelSelector: dallE3 }, authorized))
    expect(error.findDetails(ErrorInfoSchema)[0]?.metadata).toMatchObject({ outcome: 'unknown', retryable: 'false' })
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })

  test('stops the upstream call by its deadline, where it wishes that', async () => {
    const prompt = `[hang] until the deadline of ${name}`
    const error = await failureOf(images.generateImages(cancelled(prompt), { ...authorized, timeoutMs: 500 }))
    expect(error.code).toBe(Code.DeadlineExceeded)
    expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
  })

  test('stops the upstream call by cancelling, where it wishes that', async () => {
    const prompt = `[hang] until ${name} cancels`
    const leaving = new AbortController()
    const failure = failureOf(images.generateImages(cancelled(prompt), { ...authorized, signal: leaving.signal }))
    await expect.poll(() => gateway.upstreamCalls(prompt)).toBe(1)
    leaving.abort()
    expect((await failure).code).toBe(Code.Canceled)
    expect(await gateway.upstreamEnd(prompt)).toBe('abandoned')
  })
}

async function failureOf(run: Promise<unknown>): Promise<ConnectError> {
  return run.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => ConnectError.from(error)
  )
}
