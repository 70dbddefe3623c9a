import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import OpenAI, { toFile } from 'openai'
import sharp from 'sharp'
import { afterAll, expect, test } from 'vitest'
import { ResponseFormat } from '../../gen/atelier/v1/image_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { download, startGateway } from '../support/gateway.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

const openai = new OpenAI({ apiKey: gateway.apiKey, baseURL: gateway.baseUrl, maxRetries: 0 })
const grpc = createClient(ImageService, createGrpcTransport({ baseUrl: gateway.url }))
const headers = { authorization: `Bearer ${gateway.apiKey}` }

const square = await sharp({ create: { width: 64, height: 64, channels: 3, background: '#ff0000' } })
  .png()
  .toBuffer()
const mask = await sharp({ create: { width: 64, height: 64, channels: 4, background: '#00000000' } })
  .png()
  .toBuffer()
const file = (bytes: Buffer, name: string) => toFile(bytes, name, { type: 'image/png' })

test('gives the same edit over REST and gRPC', async () => {
  const overRest = await openai.images.edit({
    model: 'sketch',
    prompt: 'a hat',
    image: await file(square, 'a.png'),
    mask: await file(mask, 'm.png'),
    response_format: 'b64_json'
  })
  const { result } = await grpc.editImages(
    {
      parameters: { prompt: 'a hat', modelSelector: { case: 'modelName', value: 'sketch' }, responseFormat: ResponseFormat.B64_JSON },
      images: [{ source: { case: 'data', value: square } }],
      mask: { source: { case: 'data', value: mask } }
    },
    { headers }
  )
  const content = result?.images[0]?.content
  expect(content?.case === 'data' && Buffer.from(content.value).toString('base64')).toBe(overRest.data?.[0]?.b64_json)
})

test('sends every image and the mask to the provider', async () => {
  const prompt = 'two images and a mask'
  const images = await Promise.all([file(square, 'a.png'), file(square, 'b.png')])
  const { data } = await openai.images.edit({ model: 'gpt-image-2', prompt, image: images, mask: await file(mask, 'm.png') })
  expect(data?.map(({ b64_json }) => typeof b64_json)).toEqual(['string'])
  const sent = gateway.openai.requests.filter(({ path }) => path.endsWith('/images/edits'))
  expect(sent).toHaveLength(1)
})

test('edits without a model by the successor of the default one', async () => {
  const { data } = await openai.images.edit({ prompt: 'no model', image: await file(square, 'a.png') })
  expect((await sharp(await download(data?.[0]?.url)).metadata()).format).toBe('png')
})

test('keeps variations alive by an edit of the successor', async () => {
  const { data, response } = await openai.images
    .createVariation({ image: await file(square, 'a.png'), n: 2, size: '256x256' })
    .withResponse()
    .then(({ data, response }) => ({ data: data.data, response }))
  expect(data).toHaveLength(2)
  expect(response.headers.get('x-atelier-warnings')).toContain('emulated')
})
