import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { credentials, type GrpcObject, loadPackageDefinition, Metadata, type ServiceClientConstructor } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import OpenAI from 'openai'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { Model } from '../../gen/atelier/v1/model_pb.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { needsFiles } from '../support/debian.ts'
import { generatePythonClient, needsPython } from '../support/python-client.ts'
import { runCommand } from '../support/run-command.ts'

const prompt = 'one image for everybody'

test('the same request through five clients in three languages gives the same image', async (context) => {
  needsFiles(context, { '/usr/bin/curl': 'curl' })
  needsPython(context)
  await using atelier = await startAtelier()
  const images = {
    'openai in JavaScript': await withOpenAI(atelier),
    'connect-node over gRPC': await withConnect(atelier),
    '@grpc/grpc-js': await withGrpcJs(atelier),
    curl: await withCurl(atelier),
    'grpcio in Python': await withPython(atelier)
  }
  const { width, height, format } = await sharp(images.curl).metadata()
  expect([width, height, format]).toEqual([1024, 768, 'png'])
  const hashes = Object.entries(images).map(([client, bytes]) => [client, createHash('sha256').update(bytes).digest('hex')])
  expect(hashes).toEqual(hashes.map(([client]) => [client, hashes[0]?.[1]]))
})

async function withOpenAI({ url, apiKey }: TestServer): Promise<Uint8Array> {
  const client = new OpenAI({ apiKey, baseURL: `${url}/v1` })
  const request = { model: 'sketch', prompt, size: '1024x768', seed: 11, response_format: 'b64_json' }
  const { data } = await client.images.generate(request as OpenAI.ImageGenerateParamsNonStreaming)
  return Buffer.from(data?.[0]?.b64_json ?? '', 'base64')
}

async function withConnect({ url, apiKey }: TestServer): Promise<Uint8Array> {
  const { images } = await createClient(ImageService, createGrpcTransport({ baseUrl: url })).generateImages(
    {
      prompt,
      modelSelector: { case: 'model', value: Model.SKETCH },
      sizeSelector: { case: 'dimensions', value: { width: 1024, height: 768 } },
      seed: 11,
      responseFormat: 2
    },
    { headers: { authorization: `Bearer ${apiKey}` } }
  )
  const content = images[0]?.content
  return content?.case === 'data' ? content.value : new Uint8Array()
}

async function withGrpcJs({ url, apiKey }: TestServer): Promise<Uint8Array> {
  const includeDirs = ['../../proto', '../../third_party'].map((path) => fileURLToPath(new URL(path, import.meta.url)))
  const { atelier } = loadPackageDefinition(loadSync('atelier/v1/image_service.proto', { includeDirs, keepCase: true, enums: String }))
  const constructors = (atelier as GrpcObject).v1 as Record<string, ServiceClientConstructor>
  const client = constructors.ImageService && new constructors.ImageService(new URL(url).host, credentials.createInsecure())
  const metadata = new Metadata()
  metadata.set('authorization', `Bearer ${apiKey}`)
  const request = {
    prompt,
    model: 'MODEL_SKETCH',
    dimensions: { width: 1024, height: 768 },
    seed: 11,
    response_format: 'RESPONSE_FORMAT_B64_JSON'
  }
  return new Promise((resolve, reject) => {
    client?.generateImages?.(request, metadata, (error: Error | null, answer: { images: { data: Buffer }[] }) => {
      client.close()
      if (error) reject(error)
      else resolve(answer.images[0]?.data ?? new Uint8Array())
    })
  })
}

async function withCurl({ url, apiKey }: TestServer): Promise<Uint8Array> {
  const headers = [`Authorization: Bearer ${apiKey}`, 'Content-Type: application/json', 'Accept: image/*'].flatMap((header) => [
    '-H',
    header
  ])
  const body = JSON.stringify({ model: 'sketch', prompt, size: '1024x768', seed: 11 })
  const { stdout } = await runCommand('curl', ['-sS', `${url}/v1/images/generations`, ...headers, '-d', body])
  return stdout
}

async function withPython(atelier: TestServer): Promise<Uint8Array> {
  await using python = await generatePythonClient()
  const [result] = await python.run(atelier, [
    {
      request: {
        prompt,
        model: 'MODEL_SKETCH',
        dimensions: { width: 1024, height: 768 },
        seed: 11,
        response_format: 'RESPONSE_FORMAT_B64_JSON'
      }
    }
  ])
  return Buffer.from(result?.answer?.images[0]?.data ?? '', 'base64')
}
