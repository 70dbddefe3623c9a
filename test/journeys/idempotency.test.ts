import { createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { afterAll, describe, expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { download, startGateway } from '../support/gateway.ts'
import { generations, submit } from '../support/task-client.ts'

const gateway = await startGateway({ openai: { slowMs: 500 } })
afterAll(() => gateway[Symbol.asyncDispose]())

interface Answer {
  status: number
  text: string
  isReplay: boolean
  taskId: string | null
}

describe('an Idempotency-Key', () => {
  test('makes one of twenty concurrent requests: one call to the provider, and the same bytes for all', async () => {
    const body = { model: 'gpt-image-2', prompt: '[slow] twenty at a time' }
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(body, 'twenty')))
    expect(new Set(answers.map(({ status, text, taskId }) => `${status} ${taskId} ${text}`)).size).toBe(1)
    expect([answers[0]?.status, answers.filter(({ isReplay }) => isReplay).length]).toEqual([200, 19])
    expect(gateway.upstreamCalls(body.prompt)).toBe(1)
  })

  test('repeats an answer later, revised prompt included, with links that are signed anew', async () => {
    const body = { model: 'dall-e-3', prompt: 'later' }
    const first = await ask(body, 'later')
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    const again = await ask(body, 'later')
    const [one, other] = [first, again].map(({ text }) => JSON.parse(text))
    expect([first.isReplay, again.isReplay, other.created, again.taskId]).toEqual([false, true, one.created, first.taskId])
    expect(other.data[0].revised_prompt).toBe('A detailed, high-quality image of the following: later')
    expect(other.data[0].url).not.toBe(one.data[0].url)
    expect(await download(other.data[0].url)).toEqual(await download(one.data[0].url))
    expect(gateway.upstreamCalls('later')).toBe(1)
  })

  test('repeats a stream', async () => {
    const body = { model: 'gpt-image-2', prompt: 'streamed twice', stream: true, partial_images: 1 }
    const [first, again] = [await ask(body, 'streamed'), await ask(body, 'streamed')]
    const completedOf = ({ text }: Answer) => text.slice(text.indexOf('event: image_generation.completed'))
    expect([again.status, again.isReplay, completedOf(again)]).toEqual([200, true, completedOf(first)])
    expect(completedOf(first)).toContain('"b64_json":"iVBORw0KGgo')
    expect(gateway.upstreamCalls(body.prompt)).toBe(1)
  })

  test('is the request_id of RPC, where streams are repeated too', async () => {
    const images = createClient(ImageService, createGrpcTransport({ baseUrl: gateway.url }))
    const headers = { authorization: `Bearer ${gateway.apiKey}` }
    const request = { prompt: 'over gRPC', modelSelector: { case: 'modelName', value: 'gpt-image-2' } as const, requestId: 'rpc' }
    const read = () => Array.fromAsync(images.streamGenerateImages({ request }, { headers }))
    const [first, again] = [await read(), await read()]
    expect(again).toEqual(first)
    expect([again.map(({ event }) => event.case), gateway.upstreamCalls(request.prompt)]).toEqual([
      ['accepted', 'chunk', 'image', 'completed'],
      1
    ])
  })

  test('with another body is refused, and nothing is sent', async () => {
    await ask({ model: 'sketch', prompt: 'one', size: '64x64' }, 'taken')
    const { status, text } = await ask({ model: 'dall-e-3', prompt: 'refused for its key' }, 'taken')
    expect([status, JSON.parse(text).error]).toEqual([
      422,
      { message: expect.any(String), type: 'invalid_request_error', param: 'Idempotency-Key', code: 'idempotency_key_reused' }
    ])
    expect(gateway.upstreamCalls('refused for its key')).toBe(0)
  })

  test.each([
    ['was refused by the provider', '[moderated] keyed', 400],
    ['was asked to wait', '[rate-limit] keyed', 429]
  ])('is free again where the request %s', async (_, prompt, status) => {
    const first = await ask({ model: 'dall-e-3', prompt }, prompt)
    const again = await ask({ model: 'dall-e-3', prompt }, prompt)
    expect([first.status, again.status, again.isReplay, again.taskId === first.taskId]).toEqual([status, status, false, false])
    expect(gateway.upstreamCalls(prompt)).toBe(2)
  })

  test('is used up where nobody knows what became of the request', async () => {
    const body = { model: 'dall-e-3', prompt: '[reset] keyed' }
    const [first, again] = [await ask(body, 'unknown'), await ask(body, 'unknown')]
    expect([first.status, JSON.parse(first.text).error.code, first.isReplay]).toEqual([500, 'outcome_unknown', false])
    expect([again.status, again.text, again.isReplay]).toEqual([500, first.text, true])
    expect(gateway.upstreamCalls(body.prompt)).toBe(1)
  })

  test('makes one task of several background requests', async () => {
    const body = { model: 'sketch', prompt: 'in the background', size: '64x64' }
    const made = await Promise.all(Array.from({ length: 5 }, () => submit(gateway, body, { 'idempotency-key': 'background' })))
    expect(new Set(made.map(({ id }) => id)).size).toBe(1)
  })

  test('gets to whoever waits what a caller who left has begun', async () => {
    const body = { model: 'dall-e-3', prompt: '[slow] left to another' }
    const leaving = new AbortController()
    const left = fetch(gateway.url + generations, {
      method: 'POST',
      headers: { authorization: `Bearer ${gateway.apiKey}`, 'content-type': 'application/json', 'idempotency-key': 'left' },
      body: JSON.stringify(body),
      signal: leaving.signal
    }).catch((error: Error) => error.name)
    await expect.poll(() => gateway.upstreamCalls(body.prompt)).toBe(1)
    const waiting = ask(body, 'left')
    leaving.abort()
    expect([await left, (await waiting).status, (await waiting).isReplay, gateway.upstreamCalls(body.prompt)]).toEqual([
      'AbortError',
      200,
      true,
      1
    ])
  })
})

describe('a client that says that it sends a request again', () => {
  test('gets nothing of what was delivered whole', async () => {
    const body = { model: 'gpt-image-2', prompt: 'delivered whole' }
    await ask(body)
    const { status, isReplay } = await ask(body, undefined, { 'x-stainless-retry-count': '1' })
    expect([status, isReplay, gateway.upstreamCalls(body.prompt)]).toEqual([200, false, 2])
  })
})

async function ask(body: Record<string, unknown>, key?: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await gateway.post(generations, body, { ...(key !== undefined && { 'idempotency-key': key }), ...headers })
  return {
    status: response.status,
    text: await response.text(),
    isReplay: response.headers.get('x-atelier-replayed') === 'true',
    taskId: response.headers.get('x-atelier-task-id')
  }
}
