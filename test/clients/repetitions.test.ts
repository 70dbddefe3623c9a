import OpenAI7 from 'openai'
import OpenAI6 from 'openai-6'
import { afterAll, describe, expect, test } from 'vitest'
import { startCuttingProxy } from '../support/cutting-proxy.ts'
import { startGateway } from '../support/gateway.ts'

const gateway = await startGateway({ openai: { slowMs: 500 } })
afterAll(() => gateway[Symbol.asyncDispose]())

const versions = [
  ['openai 7', OpenAI7],
  ['openai 6', OpenAI6 as unknown as typeof OpenAI7]
] as const

describe.each(versions)('%s, whose connection breaks while the provider works,', (version, OpenAI) => {
  test('gets by its own repetition the image that was begun', async () => {
    await using proxy = await startCuttingProxy(gateway.url)
    const client = new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: gateway.apiKey })
    const prompt = `[slow] once for ${version}`
    const answer = client.images.generate({ model: 'gpt-image-2', prompt })
    await expect.poll(() => gateway.upstreamCalls(prompt)).toBe(1)
    proxy.cut()
    const image = (await answer).data?.[0]?.b64_json ?? ''
    expect(Buffer.from(image, 'base64')).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
    expect([proxy.accepted, gateway.upstreamCalls(prompt), await gateway.upstreamEnd(prompt)]).toEqual([2, 1, 'answered'])
  })

  test('gets each of two images that were lost once, and a third one is made anew', async () => {
    await using proxy = await startCuttingProxy(gateway.url)
    const client = new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: gateway.apiKey })
    const request = { model: 'gpt-image-2', prompt: `[slow] twice for ${version}` } as const
    const answers = [client.images.generate(request).withResponse(), client.images.generate(request).withResponse()]
    await expect.poll(() => gateway.upstreamCalls(request.prompt)).toBe(2)
    proxy.cut()
    const tasks = (await Promise.all(answers)).map(({ response }) => response.headers.get('x-atelier-task-id'))
    expect([new Set(tasks).size, gateway.upstreamCalls(request.prompt)]).toEqual([2, 2])
    const headers = { 'x-stainless-retry-count': '1' }
    const third = await client.images.generate(request, { headers }).withResponse()
    expect(tasks).not.toContain(third.response.headers.get('x-atelier-task-id'))
    expect(gateway.upstreamCalls(request.prompt)).toBe(3)
  })

  test('has a stream repeated whose connection broke before it began', async () => {
    await using proxy = await startCuttingProxy(gateway.url)
    const client = new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: gateway.apiKey })
    const prompt = `[slow] streamed for ${version}`
    const answer = client.images.generate({ model: 'gpt-image-2', prompt, stream: true })
    await expect.poll(() => gateway.upstreamCalls(prompt)).toBe(1)
    proxy.cut()
    const events = await Array.fromAsync(await answer)
    expect(events.map(({ type }) => type)).toEqual(['image_generation.completed'])
    expect(gateway.upstreamCalls(prompt)).toBe(1)
  })
})
