import { create } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { ResponseFormat, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import { gatewayError } from '../../src/errors.ts'
import type { GenerationEvent } from '../../src/events.ts'
import type { Operations } from '../../src/invoke.ts'
import type { TaskOrder } from '../../src/services/task-order.ts'
import { boundary, formBody } from '../support/form.ts'
import { connectRaw } from '../support/raw-client.ts'
import { startRestServer } from '../support/rest-server.ts'
import { queuedTask } from '../support/tasks.ts'

const generations = '/v1/openai/images/generations'
const dataUrl = 'data:image/png;base64,iVBORw0KGgo='

const accepted: GenerationEvent = {
  kind: 'accepted',
  taskId: 'task_1',
  createdAt: 1_777_048_800,
  isReplay: false,
  provider: 'openai',
  model: 'gpt-image-2',
  warnings: []
}

async function* oneLink(): AsyncIterable<GenerationEvent> {
  yield accepted
  yield { kind: 'image', index: 0, image: { url: 'https://images.example/a.png', mediaType: 'image/png' } }
  yield { kind: 'image_details', index: 0, revisedPrompt: 'a large cat' }
  yield { kind: 'completed' }
}

/** The front door over operations that note how they were called. */
async function startNoting(events: () => AsyncIterable<GenerationEvent> = oneLink) {
  const generated: Parameters<Operations['generateImages']>[] = []
  const edited: Parameters<Operations['editImages']>[] = []
  const orders: TaskOrder[] = []
  const server = await startRestServer(
    {
      generateImages: (...given) => {
        generated.push(given)
        return events()
      },
      editImages: (...given) => {
        edited.push(given)
        return events()
      },
      async createTask(order: TaskOrder) {
        orders.push(order)
        return queuedTask()
      }
    },
    {
      uploads: {
        async take(source) {
          for await (const _ of source);
          return { mediaType: 'image/png', [Symbol.asyncDispose]: async () => undefined } as never
        }
      }
    }
  )
  return { ...server, generated, edited, orders }
}

describe.each([generations, '/openai/images/generations'])('POST %s', (path) => {
  test('answers in an envelope, whose fields come first', async () => {
    const { send } = await startNoting()
    const { status, headers, body } = await send('POST', path, { model: 'gpt-image-2', prompt: 'a cat', trace_id: 'mine' })
    expect([status, headers.get('x-atelier-task-id'), JSON.stringify(body)]).toEqual([
      200,
      'task_1',
      '{"success":true,"task_id":"task_1","trace_id":"mine","created":1777048800,"data":[{"url":"https://images.example/a.png","revised_prompt":"a large cat"}]}'
    ])
  })

  test('asks for links that last', async () => {
    const { send, generated } = await startNoting()
    await send('POST', path, { model: 'gpt-image-2', prompt: 'a cat', response_format: 'url', trace_id: 'mine' })
    expect(generated[0]?.[0].responseFormat).toBe(ResponseFormat.URL)
    expect(generated[0]?.[2]).toEqual({ traceId: 'mine', permanentLinks: true })
  })

  test('takes a callback, and answers with the id of the task alone', async () => {
    const { send, orders } = await startNoting()
    const { status, body } = await send('POST', path, { model: 'dall-e-3', prompt: 'a cat', callback_url: 'https://receiver.example' })
    expect([status, body]).toEqual([200, { task_id: 'task_1' }])
    expect(orders).toMatchObject([{ callbackUrl: 'https://receiver.example', traceId: '', permanentLinks: true }])
  })

  test('puts an error in an envelope', async () => {
    const { send } = await startNoting()
    const { status, headers, body } = await send('POST', path, { prompt: 7, trace_id: 'mine' })
    expect([status, headers.get('x-request-id') !== null, body]).toEqual([
      400,
      true,
      { success: false, error: { code: 'token_mismatched', message: 'prompt: must be a string' }, trace_id: 'mine' }
    ])
  })
})

describe('an answer in an envelope', () => {
  test('has the request id for a trace id where the caller gave none', async () => {
    const { send } = await startNoting()
    const { headers, body } = await send('POST', generations, { prompt: 'a cat' })
    expect(body.trace_id).toBe(headers.get('x-request-id'))
  })

  test('has no task id where no tasks are kept', async () => {
    const { send } = await startNoting(async function* () {
      yield { ...accepted, taskId: '' }
      yield { kind: 'completed' }
    })
    const { body } = await send('POST', generations, { prompt: 'a cat', trace_id: 'mine' })
    expect(body).toEqual({ success: true, trace_id: 'mine', created: 1_777_048_800, data: [] })
  })

  test('holds the bytes of an image where they were asked for', async () => {
    const { send, generated } = await startNoting()
    await send('POST', generations, { model: 'dall-e-3', prompt: 'a cat', response_format: 'b64_json' })
    expect(generated[0]?.[0].responseFormat).toBe(ResponseFormat.B64_JSON)
  })

  test('is never the image itself', async () => {
    const { send } = await startNoting()
    const { headers, body } = await send('POST', generations, { prompt: 'a cat' }, { accept: 'image/png' })
    expect([headers.get('content-type'), body.success]).toEqual(['application/json', true])
  })

  test('is streamed as on every route, with links', async () => {
    const { send, generated } = await startNoting()
    const { body } = await send('POST', generations, { prompt: 'a cat', stream: true })
    expect(body).toMatch(/^event: image_generation.completed\n.*"url":"https:\/\/images.example\/a.png"/)
    expect(generated[0]?.[0].responseFormat).toBe(ResponseFormat.URL)
  })
})

describe('models that make one image', () => {
  const clamped = (n: number, model: string) =>
    create(WarningSchema, {
      kind: WarningKind.CLAMPED,
      param: 'n',
      message: `${n} was asked for and 1 is made: on this route ${model} makes one image per request`
    })

  test.each(['gpt-image-2', 'gpt-image-1.5', 'openai/gpt-image-1', 'nano-banana', 'nano-banana-pro', 'google/nano-banana-2'])(
    '%s makes one with a warning, whatever n says',
    async (model) => {
      const { send, generated } = await startNoting()
      expect((await send('POST', generations, { model, prompt: 'a cat', n: 3 })).status).toBe(200)
      expect([generated[0]?.[0].n, generated[0]?.[2]?.notes]).toEqual([1, [clamped(3, model)]])
    }
  )

  test.each([
    ['dall-e-2', 3],
    ['dall-e-3', 2],
    ['gpt-image-2', 1],
    ['gpt-image-2', undefined],
    ['gpt-image-2', 11],
    ['my-gpt-image-2', 2],
    [undefined, 2]
  ])('%s with n %s is left as it is', async (model, n) => {
    const { send, generated } = await startNoting()
    await send('POST', generations, { model, prompt: 'a cat', n })
    expect([generated[0]?.[0].n, generated[0]?.[2]?.notes]).toEqual([n, undefined])
  })

  test('are held to n on every other route', async () => {
    const { send, generated } = await startNoting()
    await send('POST', '/v1/images/generations', { model: 'gpt-image-2', prompt: 'a cat', n: 3 })
    expect([generated[0]?.[0].n, generated[0]?.[2]]).toEqual([3, {}])
  })

  test('warn on the answer that names the task', async () => {
    const { send, orders } = await startNoting()
    const asked = { model: 'gpt-image-2', prompt: 'a cat', n: 2, callback_url: 'https://receiver.example' }
    const { headers } = await send('POST', generations, asked)
    expect(headers.get('x-atelier-warnings')).toMatch(/^n=clamped; message="2 was asked for and 1 is made/)
    const operation = orders[0]?.operation
    expect(operation?.kind === 'generation' && operation.request.n).toBe(1)
  })

  test('refuse n under strict', async () => {
    const { send, generated } = await startNoting()
    const asked = { model: 'gpt-image-2', prompt: 'a cat', n: 2 }
    const { status, body } = await send('POST', generations, asked, { 'x-atelier-strict': 'true' })
    expect([status, body.error.code, body.error.message, generated]).toEqual([
      400,
      'token_mismatched',
      expect.stringMatching(/^n: 2 was asked for/),
      []
    ])
  })

  test('give links for nano-banana with a warning, also where bytes were asked for', async () => {
    const { send, generated } = await startNoting()
    await send('POST', generations, { model: 'nano-banana', prompt: 'a cat', response_format: 'b64_json' })
    expect(generated[0]?.[0].responseFormat).toBe(ResponseFormat.URL)
    expect(generated[0]?.[2]?.notes).toMatchObject([{ kind: WarningKind.IGNORED, param: 'response_format' }])
  })
})

describe.each(['/v1/openai/images/edits', '/openai/images/edits'])('POST %s', (path) => {
  const type = { 'content-type': `multipart/form-data; boundary=${boundary}` }
  const image = { name: 'image', content: 'xyz', filename: 'cat.png', type: 'image/png' }

  test('takes a form and answers in an envelope', async () => {
    const { send, edited } = await startNoting()
    const fields = { prompt: 'a hat', model: 'gpt-image-1', n: '2', trace_id: 'mine' }
    const form = formBody([image, ...Object.entries(fields).map(([name, content]) => ({ name, content }))])
    const { status, body } = await send('POST', path, form, type)
    expect([status, body.success, body.task_id, body.trace_id]).toEqual([200, true, 'task_1', 'mine'])
    expect(edited).toMatchObject([
      [{ parameters: { n: 1, responseFormat: ResponseFormat.URL } }, {}, { permanentLinks: true, notes: [{ param: 'n' }] }]
    ])
  })

  test('takes one URL for the image', async () => {
    const { send, edited } = await startNoting()
    expect((await send('POST', path, { image: 'https://example.com/cat.png', prompt: 'a hat' })).status).toBe(200)
    expect(edited[0]?.[0].images).toEqual([{ param: 'image', kind: 'url', url: 'https://example.com/cat.png' }])
  })

  test('takes several URLs, and data URLs among them', async () => {
    const { send, edited } = await startNoting()
    expect((await send('POST', path, { image: ['https://example.com/cat.png', dataUrl], prompt: 'a hat' })).status).toBe(200)
    expect(edited[0]?.[0].images).toMatchObject([
      { param: 'image[0]', kind: 'url', url: 'https://example.com/cat.png' },
      { param: 'image[1]', kind: 'upload', upload: { mediaType: 'image/png' } }
    ])
  })

  test('takes references as OpenAI has them too', async () => {
    const { send, edited } = await startNoting()
    expect((await send('POST', path, { images: [{ file_id: 'abc' }], prompt: 'a hat' })).status).toBe(200)
    expect(edited[0]?.[0].images).toEqual([{ param: 'images[0].file_id', kind: 'image_id', imageId: 'abc' }])
  })

  test.each<[string, unknown, RegExp]>([
    ['no image', { prompt: 'x' }, /^missing required parameter: 'image'$/],
    ['an empty list', { image: [] }, /^missing required parameter: 'image'$/],
    ['a number', { image: 7 }, /^image: must be an array$/],
    ['numbers', { image: [7] }, /^image\[0\]: must be a URL, or an array of URLs$/],
    ['a reference in the place of a URL', { image: [{ image_url: 'https://x' }] }, /^image\[0\]: must be a URL/],
    ['both', { image: 'https://x', images: [{ file_id: 'abc' }] }, /^image: excludes images/],
    ['17 URLs', { image: Array(17).fill('https://x') }, /^image: must be at most 16 images$/],
    ['a data URL that is not in base64', { image: 'data:image/png,abc' }, /^image: must be a data URL in base64$/],
    ['a list for a document', [], /must be a JSON object/]
  ])('refuses %s', async (_, body, message) => {
    const { send, edited } = await startNoting()
    const answer = await send('POST', path, body)
    expect([answer.status, answer.body.error, edited]).toEqual([
      400,
      { code: 'token_mismatched', message: expect.stringMatching(message) },
      []
    ])
  })

  test('refuses an image that is sent twice', async () => {
    const { send } = await startNoting()
    const { status, body } = await send('POST', path, '{"image":"https://x","image":["https://y"]}')
    expect([status, body.error.message]).toEqual([400, 'image: was sent twice'])
  })
})

describe('errors in an envelope', () => {
  const failing = (error: Error) =>
    startNoting(async function* () {
      yield accepted
      throw error
    })

  test('of a missing key', async () => {
    const { send } = await startNoting()
    const { status, headers, body } = await send('POST', generations, { prompt: 'a cat' }, { authorization: 'Bearer wrong' })
    expect([status, headers.get('www-authenticate'), body]).toEqual([
      401,
      'Bearer',
      {
        success: false,
        error: { code: 'invalid_token', message: 'missing or invalid API key: send it as `Authorization: Bearer <key>`' },
        trace_id: headers.get('x-request-id')
      }
    ])
  })

  test.each([
    ['POST', '/v1/openai/images/upscale'],
    ['GET', '/openai/models'],
    ['POST', '/v1/openai/'],
    ['POST', '/openai/deployments/x/images/generations']
  ])('of %s %s, which is no route', async (method, path) => {
    const { send } = await startNoting()
    const { status, body } = await send(method, path)
    expect([status, body.success, body.error.code]).toEqual([400, false, 'api_not_implemented'])
  })

  test('of a method that a route does not take', async () => {
    const { send } = await startNoting()
    const { status, headers, body } = await send('GET', generations)
    expect([status, headers.get('allow'), body.error.code]).toEqual([400, 'POST', 'token_mismatched'])
  })

  test('name the task and say whether to try again', async () => {
    const { send } = await failing(gatewayError('OUTCOME_UNKNOWN', { provider: 'openai', problem: 'cut off' }, { outcome: 'unknown' }))
    const { status, headers, body } = await send('POST', generations, { prompt: 'a cat', trace_id: 'mine' })
    expect([status, headers.get('x-should-retry'), headers.get('x-atelier-task-id'), body]).toEqual([
      500,
      'false',
      'task_1',
      {
        success: false,
        task_id: 'task_1',
        error: { code: 'api_error', message: 'the answer of the provider openai was lost: cut off' },
        trace_id: 'mine'
      }
    ])
  })

  test('say how long to wait', async () => {
    const { send } = await failing(
      gatewayError('PROVIDER_RATE_LIMITED', { provider: 'openai', problem: 'slow down' }, { retryAfterMs: 1500, outcome: 'rejected' })
    )
    const { status, headers, body } = await send('POST', generations, { prompt: 'a cat' })
    expect([status, headers.get('retry-after'), headers.get('retry-after-ms'), body.error.code]).toEqual([
      429,
      '2',
      '1500',
      'too_many_requests'
    ])
  })

  test.each([
    ['text', 'text/plain', 'x'],
    ['broken JSON', 'application/json', '{"prompt":'],
    ['too much', 'application/json', JSON.stringify({ prompt: 'x'.repeat(200_000) })],
    ['a key that attacks', 'application/json', '{"__proto__":{}}']
  ])('of a body that is %s', async (_, contentType, body) => {
    const { send } = await startNoting()
    const answer = await send('POST', generations, body, { 'content-type': contentType })
    expect([answer.status, answer.body.success, answer.body.error.code]).toEqual([400, false, 'token_mismatched'])
  })

  test('are not for other paths that look alike', async () => {
    const { send } = await startNoting()
    for (const path of ['/v1/openaix/y', '/openai', '/v2/openai/x', '/v1/images/openai/'])
      expect((await send('POST', path)).body.error.type).toBe('invalid_request_error')
  })

  test('of a request without a legal host too', async () => {
    const { port } = await startNoting()
    using client = await connectRaw({ port })
    client.send('POST /v1/openai/images/generations HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n')
    expect(await client.closed()).toMatch(/^HTTP\/1\.1 400 [\s\S]*\{"success":false,"error":\{"code":"token_mismatched"/)
  })
})
