import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { needsFiles } from '../support/debian.ts'
import { startGateway } from '../support/gateway.ts'
import { runCommand } from '../support/run-command.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const gateway = await startGateway()
const directory = await createTemporaryDirectory()
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await directory[Symbol.asyncDispose]()
})
beforeEach((context) => needsFiles(context, { '/usr/bin/curl': 'curl' }))

describe.each([
  ['HTTP/1.1', '--http1.1', '1.1'],
  ['HTTP/2 with prior knowledge', '--http2-prior-knowledge', '2'],
  ['HTTP/2 by upgrade, which stays with HTTP/1.1', '--http2', '1.1']
])('over %s', (name, option, version) => {
  test('gets the image itself, as the first start tells to', async () => {
    const prompt = `a cat over ${name}`
    const { body, head } = await post({ model: 'gpt-image-2', prompt }, ['-H', 'Accept: image/*'])
    expect(body).toEqual(await gateway.upstreamImage({ model: 'gpt-image-2', prompt }))
    expect(head).toMatch(new RegExp(`^HTTP/${version} 200 `))
    expect(head).toMatch(/^content-type: image\/png\r$/im)
    expect(head).toMatch(/^x-atelier-provider: openai\r$/im)
  })

  test('gets base64, and the same image by a link', async () => {
    const request = { model: 'sketch', prompt: 'a link and base64', size: '320x200', seed: 5 }
    const inlined = await postJson({ ...request, response_format: 'b64_json' })
    const linked = await postJson(request)
    const { body } = await curl([linked.data[0].url])
    expect(body).toEqual(Buffer.from(inlined.data[0].b64_json, 'base64'))
    const { head } = await curl(['--head', linked.data[0].url])
    expect(head).toMatch(new RegExp(`^content-length: ${body.length}\r$`, 'im'))
    const part = await curl(['--range', '10-29', linked.data[0].url])
    expect(part.body).toEqual(body.subarray(10, 30))
  })

  test.each([
    [400, 'invalid_request_error', 'invalid_size', 'size', { model: 'dall-e-3', prompt: 'a cat', size: '512x512' }],
    [404, 'invalid_request_error', 'model_not_found', 'model', { model: 'dall-e-9', prompt: 'a cat' }],
    [429, 'rate_limit_error', 'rate_limit_exceeded', null, { model: 'dall-e-3', prompt: '[rate-limit]' }],
    [500, 'provider_error', 'provider_failed', null, { model: 'dall-e-3', prompt: '[server-error]' }]
  ])('gets status %i with type %s, code %s and param %s', async (status, type, code, param, request) => {
    const { head, body } = await post(request)
    expect(head).toMatch(new RegExp(`^HTTP/${version} ${status} `))
    expect(JSON.parse(body.toString())).toEqual({ error: { message: expect.any(String), type, code, param } })
  })

  test('gets 401 without a key, before it has sent its body', async () => {
    const { head, body } = await curl([
      `${gateway.baseUrl}/images/generations`,
      '-H',
      'Content-Type: application/json',
      '-d',
      '{"prompt":"a cat"}'
    ])
    expect(head).toMatch(new RegExp(`^HTTP/${version} 401 `))
    expect(JSON.parse(body.toString()).error).toMatchObject({ type: 'authentication_error', code: 'invalid_api_key' })
  })

  test('gets 413 for a body above the limit, which it offers with Expect: 100-continue', async () => {
    const path = join(directory.path, 'large.json')
    await writeFile(path, JSON.stringify({ model: 'sketch', prompt: 'x'.repeat(3_000_000) }))
    const { head, body } = await post(`@${path}`)
    expect(head).toMatch(new RegExp(`^HTTP/${version} 413 `, 'm'))
    expect(JSON.parse(body.toString()).error).toMatchObject({ type: 'invalid_request_error', code: 'body_too_large' })
  })

  async function post(request: unknown, options: string[] = []) {
    const data = typeof request === 'string' ? request : JSON.stringify(request)
    const authorization = `Authorization: Bearer ${gateway.apiKey}`
    return curl([
      `${gateway.baseUrl}/images/generations`,
      '-H',
      authorization,
      '-H',
      'Content-Type: application/json',
      '-d',
      data,
      ...options
    ])
  }

  async function postJson(request: unknown) {
    return JSON.parse((await post(request)).body.toString())
  }

  /** The last head and the body of one call. */
  async function curl(args: string[]): Promise<{ head: string; body: Buffer }> {
    const headPath = join(directory.path, 'head')
    const { code, stdout, stderr } = await runCommand('curl', ['-sS', option, '-D', headPath, ...args])
    expect([code, stderr]).toEqual([0, ''])
    return { head: await readFile(headPath, 'latin1'), body: stdout }
  }
})
