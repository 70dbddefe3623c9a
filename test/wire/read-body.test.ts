import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { PassThrough } from 'node:stream'
import { afterEach, expect, test, vi } from 'vitest'
import { readJsonBody } from '../../src/wire/read-body.ts'

afterEach(() => vi.useRealTimers())

test('gives a body a minute to arrive', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const request = Object.assign(new PassThrough(), { headers: { 'content-type': 'application/json' } })
  const body = readJsonBody(request as unknown as IncomingMessage, 1000)
  request.write('{"prompt":')
  const refusal = expect(body).rejects.toMatchObject({ reason: 'BODY_TOO_SLOW', fields: { limitSeconds: 60 } })
  vi.advanceTimersByTime(60_000)
  await refusal
  expect([vi.getTimerCount(), request.listenerCount('data')]).toEqual([0, 0])
})

test('forgets the minute once the body is there', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const request = Object.assign(new PassThrough(), { headers: { 'content-type': 'application/json' } })
  request.end('{"n":1}')
  expect(await readJsonBody(request as unknown as IncomingMessage, 1000)).toEqual({ n: 1 })
  expect(vi.getTimerCount()).toBe(0)
})

test('takes a small body of each request on a connection without listening for it', async () => {
  const bodies: unknown[] = []
  const server = createServer(async (request, response) => {
    const body = await readJsonBody(request, 1000)
    bodies.push({ body, flowing: request.readableFlowing })
    response.end('taken')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = connect(port, '127.0.0.1')
  for (const body of ['{"n":1}', '{"n":2}']) {
    client.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n${body}`)
    expect(String(await once(client, 'data'))).toContain('taken')
  }
  client.destroy()
  server.close()
  expect(bodies).toEqual([
    { body: { n: 1 }, flowing: null },
    { body: { n: 2 }, flowing: null }
  ])
})

test('takes a body that has come with its headers without waiting, and leaves the request ended', async () => {
  const headers = { 'content-type': 'application/json', 'content-length': '7' }
  const request = Object.assign(new PassThrough(), { headers })
  const ended = new Promise((resolve) => request.once('end', () => resolve('ended')))
  request.end('{"n":1}')
  const listeners = request.eventNames().length
  const body = readJsonBody(request as unknown as IncomingMessage, 1000)
  expect(request.eventNames()).toHaveLength(listeners)
  expect(await body).toEqual({ n: 1 })
  expect(await ended).toBe('ended')
})
