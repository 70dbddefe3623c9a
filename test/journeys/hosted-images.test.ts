import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { startAtelier } from '../support/atelier.ts'
import { download, startGateway } from '../support/gateway.ts'
import { createOrganization, generations, readTask, send, submit } from '../support/task-client.ts'

const enveloped = '/v1/openai/images/generations'
const cat = { model: 'sketch', prompt: 'a cat', size: '64x64' }

describe('DELETE /v1/images/{id}', () => {
  test('ends a signed link and a permanent one', async () => {
    await using atelier = await startAtelier()
    for (const path of [generations, enveloped]) {
      const { data } = await (await atelier.post(path, { ...cat, response_format: 'url' })).json()
      const { url } = data[0]
      expect((await fetch(url)).status).toBe(200)
      const response = await send(atelier, 'DELETE', `/v1/images/${idIn(url)}`)
      expect([response.status, await response.text()]).toEqual([204, ''])
      expect((await fetch(url)).status).toBe(404)
      expect((await send(atelier, 'DELETE', `/v1/images/${idIn(url)}`)).status).toBe(404)
    }
  })

  test('is also an RPC', async () => {
    await using atelier = await startAtelier()
    const images = createClient(ImageService, createGrpcTransport({ baseUrl: atelier.url }))
    const { data } = await (await atelier.post(generations, { ...cat, response_format: 'url' })).json()
    await images.deleteImage({ imageId: idIn(data[0].url) }, { headers: { authorization: `Bearer ${atelier.apiKey}` } })
    expect((await fetch(data[0].url)).status).toBe(404)
  })

  test('is refused to another organization as if the image were not there', async () => {
    await using atelier = await startAtelier()
    const key = await createOrganization(atelier, 'others')
    const { data } = await (await atelier.post(enveloped, cat)).json()
    const foreign = await send(atelier, 'DELETE', `/v1/images/${idIn(data[0].url)}`, key)
    const unknown = await send(atelier, 'DELETE', `/v1/images/${'0'.repeat(22)}`, key)
    expect([foreign.status, (await foreign.json()).error]).toEqual([404, (await unknown.json()).error])
    expect((await fetch(data[0].url)).status).toBe(200)
  })

  test('leaves a task that says what became of its image', async () => {
    await using atelier = await startAtelier()
    const { id } = await submit(atelier, cat)
    const { result } = await readTask(atelier, id)
    await send(atelier, 'DELETE', `/v1/images/${idIn(result?.data[0]?.url)}`)
    expect((await fetch(result?.data[0]?.url ?? '')).status).toBe(404)
    expect((await readTask(atelier, id)).status).toBe('succeeded')
  })
})

test('permanent links are unsigned, and outlast the task that made them', async () => {
  await using atelier = await startAtelier({ settings: { keepResultsSeconds: 1, keepTasksSeconds: 1 } })
  const response = await atelier.post(enveloped, cat)
  const { data, task_id } = await response.json()
  expect(new URL(data[0].url).pathname).toMatch(/^\/images\/[0-9A-Za-z]{30}\.png$/)
  await expect.poll(async () => (await atelier.get(`/v1/tasks/${task_id}`)).status, { timeout: 8_000 }).toBe(404)
  expect((await sharp(await download(data[0].url)).metadata()).format).toBe('png')
})

test('links in a task work as long as the task is kept', async () => {
  await using atelier = await startAtelier({ settings: { linkLifetimeSeconds: 60 } })
  const { id } = await submit(atelier, cat)
  const { result, expires_at } = await readTask(atelier, id)
  const { headers } = await fetch(result?.data[0]?.url ?? '')
  expect(Number(/\/(\d+)-/.exec(result?.data[0]?.url ?? '')?.[1])).toBe(expires_at)
  expect(headers.get('x-content-type-options')).toBe('nosniff')
})

describe('where images cannot be stored', () => {
  test('a caller who waits for links gets the image inline, with a warning', async () => {
    await using gateway = await startGateway()
    await breakStore(gateway.dataDir)
    const prompt = 'no room'
    const response = await gateway.post(generations, { model: 'gpt-image-2', prompt, response_format: 'url' })
    const { data, atelier } = await response.json()
    const message = 'the image could not be stored here, so it comes as bytes instead of a link'
    expect([response.status, atelier]).toEqual([200, { warnings: [{ kind: 'converted', param: 'response_format', message }] }])
    expect(Buffer.from(data[0].b64_json, 'base64')).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
  })

  test('a caller who waits for bytes gets them, and the task says that they were not kept', async () => {
    await using gateway = await startGateway()
    await breakStore(gateway.dataDir)
    const prompt = 'no room for bytes'
    const response = await gateway.post(generations, { model: 'gpt-image-2', prompt })
    const { data } = await response.json()
    expect(Buffer.from(data[0].b64_json, 'base64')).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
    const task = await readTask(gateway, response.headers.get('x-atelier-task-id'))
    expect(task).toMatchObject({
      status: 'succeeded',
      result: { data: [], missing: [{ index: 0, outcome: 'failed', message: 'the image was made and could not be kept' }] }
    })
  })

  test.each(['url', 'b64_json'])(
    'a background task that asks for %s fails, and says that it may have been billed',
    async (response_format) => {
      await using gateway = await startGateway()
      await breakStore(gateway.dataDir)
      const prompt = 'no room in the background'
      const { id } = await submit(gateway, { model: 'gpt-image-2', prompt, response_format })
      expect(await readTask(gateway, id)).toMatchObject({
        status: 'failed',
        result: null,
        error: { code: 'storage_failed' },
        may_be_billed: true,
        attempts: [{ status: 'unknown' }]
      })
    }
  )
})

/** Puts a file where images are written to, so that none can be. */
async function breakStore(dataDir: string): Promise<void> {
  const unfinished = join(dataDir, 'images/unfinished')
  await rm(unfinished, { recursive: true })
  await writeFile(unfinished, '')
}

function idIn(url: string | undefined): string {
  return /\/images\/([0-9A-Za-z]{30})/.exec(url ?? '')?.[1] ?? ''
}
