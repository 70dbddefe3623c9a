import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Call } from '../../src/call.ts'
import { createLog } from '../../src/log.ts'
import { openCall } from '../../src/wire/call-context.ts'
import { createListener } from '../../src/wire/listener.ts'
import { connectRaw } from '../support/raw-client.ts'

const log = createLog({ level: 'silent' })

/** A server that opens a call for each request and answers as it is told; tells the call of the first one. */
async function start(answer: (response: ServerResponse, call: Call) => void) {
  const { promise: opened, resolve: open } = Promise.withResolvers<Call>()
  const listener = createListener({ host: '127.0.0.1', port: 0, maxConnections: 10, log }, (...pair) => {
    const [request, response] = pair as [IncomingMessage, ServerResponse]
    const call = openCall({
      record: { id: 'req_1', traceId: '', credential: '', fail() {} },
      caller: { organizationId: 'default', apiKeyId: 'key-1', scopes: ['generate'] },
      headers: request.headers,
      deadlineMs: Number.POSITIVE_INFINITY,
      response,
      log
    })
    open(call)
    answer(response, call)
  })
  onTestFinished(() => listener[Symbol.asyncDispose]())
  return { ...(await listener.listen()), answered: async () => (await opened).answered?.(), call: () => opened }
}

const large = Buffer.alloc(32 * 1024 * 1024)

describe('over HTTP/1.1 a call knows that its answer', () => {
  test('came through whole', async () => {
    const { port, answered } = await start((response) => response.end('all of it'))
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('all of it')
    expect(await answered()).toBe(true)
  })

  test('was not taken by a client that left before', async () => {
    const { port, answered, call } = await start(() => undefined)
    const client = await connectRaw({ port })
    client.send('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
    await call()
    client.socket.destroy()
    expect(await answered()).toBe(false)
  })

  test('was cut off by a client that left in the middle', async () => {
    const { port, answered, call } = await start((response) => response.end(large))
    const client = await connectRaw({ port })
    client.send('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
    client.socket.pause()
    await call()
    await sleep(50)
    client.socket.resetAndDestroy()
    expect(await answered()).toBe(false)
  })

  test('was broken off by the server', async () => {
    const { port, answered } = await start((response) => {
      response.write('half of it')
      setTimeout(() => response.destroy(), 20)
    })
    await expect(fetch(`http://127.0.0.1:${port}/`).then((response) => response.text())).rejects.toThrow()
    expect(await answered()).toBe(false)
  })
})

describe('over HTTP/2 a call knows that its answer', () => {
  async function request(port: number) {
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    session.on('error', () => {})
    onTestFinished(() => session.destroy())
    const stream = session.request({ ':path': '/' })
    stream.on('error', () => {})
    return { session, stream }
  }

  test('came through whole', async () => {
    const { port, answered } = await start((response) => response.end('all of it'))
    const { stream } = await request(port)
    stream.resume()
    expect(await answered()).toBe(true)
  })

  test('was not taken by a client that cancelled', async () => {
    const { port, answered, call } = await start((response) => response.write('half of it'))
    const { stream } = await request(port)
    await call()
    stream.close(8)
    expect(await answered()).toBe(false)
  })

  test('was cut off by a client that left in the middle', async () => {
    const { port, answered, call } = await start((response) => response.end(large))
    const { session } = await request(port)
    await call()
    await sleep(50)
    session.destroy()
    expect(await answered()).toBe(false)
  })
})
