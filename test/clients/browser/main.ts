import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect'
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web'
import OpenAI from 'openai'
import { ImageService } from '../../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../../gen/atelier/v1/model_pb.ts'
import { ErrorInfoSchema } from '../../../gen/google/rpc/error_details_pb.ts'

/** Calls the gateway from a page of another origin and posts what it saw to the server that served the page. */
const query = new URLSearchParams(location.search)
const baseUrl = query.get('gateway') ?? ''
const apiKey = query.get('key') ?? ''
const headers = { authorization: `Bearer ${apiKey}` }
const request = { prompt: 'a browser', modelSelector: { case: 'model', value: Model.SKETCH }, seed: 3 } as const
const size = { case: 'dimensions', value: { width: 320, height: 240 } } as const

const results = {
  connect: await outcome(() => overRpc(createConnectTransport({ baseUrl }))),
  binary: await outcome(() => overRpc(createConnectTransport({ baseUrl, useBinaryFormat: true }))),
  grpcWeb: await outcome(() => overRpc(createGrpcWebTransport({ baseUrl }))),
  openai: await outcome(overRest),
  image: await outcome(shown)
}
await fetch('/result', { method: 'POST', body: JSON.stringify(results) })

async function overRpc(transport: Transport) {
  const images = createClient(ImageService, transport)
  let provider: string | null = null
  const onHeader = (received: Headers) => {
    provider = received.get('x-atelier-provider')
  }
  const response = await images.generateImages({ ...request, sizeSelector: size, responseFormat: 2 }, { headers, onHeader })
  const content = response.images[0]?.content
  const failure = await images.generateImages({ prompt: 'a cat', modelSelector: { case: 'modelName', value: 'nobody' } }, { headers }).then(
    () => 'no error',
    (thrown: unknown) => {
      const error = ConnectError.from(thrown)
      return [Code[error.code], error.findDetails(ErrorInfoSchema)[0]?.reason]
    }
  )
  return { provider, sha256: await sha256(content?.case === 'data' ? content.value : new Uint8Array()), failure }
}

async function overRest() {
  const client = new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey, dangerouslyAllowBrowser: true, maxRetries: 0 })
  const body = {
    model: 'sketch',
    prompt: 'a browser',
    seed: 3,
    size: '320x240',
    response_format: 'b64_json'
  } as OpenAI.ImageGenerateParamsNonStreaming
  const { data, response } = await client.images.generate(body).withResponse()
  const failure = await client.images.generate({ model: 'nobody', prompt: 'a cat' }).then(
    () => 'no error',
    (error: InstanceType<typeof OpenAI.APIError>) => [error.status, error.code, error.requestID?.slice(0, 4)]
  )
  const bytes = Uint8Array.from(atob(data.data?.[0]?.b64_json ?? ''), (character) => character.charCodeAt(0))
  return { provider: response.headers.get('x-atelier-provider'), sha256: await sha256(bytes), failure }
}

async function shown() {
  const client = new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey, dangerouslyAllowBrowser: true, maxRetries: 0 })
  const { data } = await client.images.generate({ model: 'sketch', prompt: 'a browser', size: '320x240' as '256x256' })
  const image = new Image()
  image.src = data?.[0]?.url ?? ''
  await image.decode()
  return { width: image.naturalWidth, height: image.naturalHeight }
}

async function outcome<T>(run: () => Promise<T>): Promise<T | { error: string }> {
  try {
    return await run()
  } catch (error) {
    return { error: String(error) }
  }
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new Uint8Array(bytes))
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
