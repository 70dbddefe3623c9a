import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { gatewayError } from '../../src/errors.ts'
import { createUpstreamClient, type UpstreamRequest } from '../../src/upstream/client.ts'
import { collect } from '../support/chunks.ts'
import { startRawServer } from '../support/raw-server.ts'
import { startUpstreamServer } from '../support/upstream-server.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

describe('a body that is streamed to an upstream', () => {
  test('arrives as it is, with its length announced', async () => {
    const blocks = Array.from({ length: 40 }, () => randomBytes(50_000))
    const server = opened.use(
      await startUpstreamServer(async (request, response) => {
        const body = await collect(request)
        response.end(`${request.headers['content-length']} ${request.headers['transfer-encoding']} ${body.equals(Buffer.concat(blocks))}`)
      })
    )
    const answer = await connect(server.origin).send(post({ body: source(blocks) }))
    expect((await collect(answer.body)).toString()).toBe('2000000 undefined true')
  })

  test('leaves the connection for the next request', async () => {
    const server = opened.use(
      await startUpstreamServer(async (request, response) => {
        response.end(String((await collect(request)).length))
      })
    )
    const client = connect(server.origin, 1)
    for (let round = 0; round < 3; round++) {
      const answer = await client.send(post({ body: source([Buffer.alloc(100_000)]) }))
      expect((await collect(answer.body)).toString()).toBe('100000')
    }
    expect(server.connections.accepted).toBe(1)
  })

  test('is read no faster than the upstream takes it', async () => {
    const gate = Promise.withResolvers<void>()
    const server = opened.use(
      await startUpstreamServer(async (request, response) => {
        await gate.promise
        response.end(String((await collect(request)).length))
      })
    )
    const body = source(Array.from({ length: 1000 }, () => Buffer.alloc(65_536)))
    const answer = connect(server.origin).send(post({ body }))
    let before = -1
    while (before !== body.taken) {
      before = body.taken
      await sleep(150)
    }
    expect(body.taken).toBeLessThan(500)
    gate.resolve()
    expect((await collect((await answer).body)).toString()).toBe('65536000')
  })

  test.each([
    ['shorter', 60_000],
    ['longer', 40_000]
  ])('breaks off where it is %s than it was announced, and the upstream gets no whole request', async (_, sizeBytes) => {
    let whole = false
    const server = opened.use(
      await startUpstreamServer((request) => {
        request.on('error', () => undefined)
        request.once('end', () => {
          whole = true
        })
        request.resume()
      })
    )
    const body = { ...source([Buffer.alloc(25_000), Buffer.alloc(25_000)]), sizeBytes }
    await expect(connect(server.origin).send(post({ body }))).rejects.toMatchObject({
      reason: 'OUTCOME_UNKNOWN',
      outcome: 'unknown',
      message: expect.stringContaining('the body of the request has not the length that was announced')
    })
    await server.closed()
    expect(whole).toBe(false)
  })

  test('that breaks off is the error of the request', async () => {
    const server = opened.use(await startUpstreamServer((request) => void request.on('error', () => undefined).resume()))
    const body = source([Buffer.alloc(1000)], gatewayError('STORAGE_FAILED', { problem: 'the disk is gone' }))
    await expect(connect(server.origin).send(post({ body: { ...body, sizeBytes: 9000 } }))).rejects.toMatchObject({
      reason: 'STORAGE_FAILED',
      outcome: 'unknown',
      message: 'the image could not be stored: the disk is gone'
    })
    await server.closed()
  })

  test('that breaks off for a reason that nobody foresaw is an internal error', async () => {
    const server = opened.use(await startUpstreamServer((request) => void request.on('error', () => undefined).resume()))
    const body = source([Buffer.alloc(1000)], new Error('what is this'))
    const sending = connect(server.origin).send(post({ body: { ...body, sizeBytes: 9000 } }))
    await expect(sending).rejects.toMatchObject({ reason: 'INTERNAL', outcome: 'unknown' })
  })

  test('gives way to an answer that comes before its end', async () => {
    const server = opened.use(
      await startRawServer((socket) => {
        socket.write('HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge')
        socket.pause()
      })
    )
    const body = source(Array.from({ length: 1000 }, () => Buffer.alloc(65_536)))
    const answer = await connect(server.origin).send(post({ body }))
    expect([answer.status, (await collect(answer.body)).toString()]).toEqual([413, 'large'])
    await expect.poll(() => body.released).toBe(true)
    expect(body.taken).toBeLessThan(1000)
  })

  test('is left when the request is cancelled', async () => {
    const caller = new AbortController()
    const server = opened.use(
      await startUpstreamServer((request) => {
        request.on('error', () => undefined)
        request.once('data', () => {
          caller.abort()
        })
      })
    )
    const body = source(Array.from({ length: 1000 }, () => Buffer.alloc(65_536)))
    await expect(connect(server.origin).send(post({ body, signal: caller.signal }))).rejects.toMatchObject({
      reason: 'CANCELLED',
      outcome: 'unknown'
    })
    await expect.poll(() => body.released).toBe(true)
    await server.closed()
  })

  test('is left at the time limit', async () => {
    const server = opened.use(await startUpstreamServer((request) => void request.on('error', () => undefined)))
    const body = source(Array.from({ length: 1000 }, () => Buffer.alloc(65_536)))
    await expect(connect(server.origin).send(post({ body, timeoutMs: 100 }))).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED' })
    await expect.poll(() => body.released).toBe(true)
  })

  test('does not know the outcome when the upstream resets the connection in it', async () => {
    const server = opened.use(await startRawServer((socket) => void socket.resetAndDestroy()))
    const body = source(Array.from({ length: 1000 }, () => Buffer.alloc(65_536)))
    const sending = connect(server.origin).send(post({ body }))
    await expect(sending).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown', retryable: false })
    await expect.poll(() => body.released).toBe(true)
    expect(server.accepted).toBe(1)
  })

  test('is not read where no connection is made, nor for a caller who has gone', async () => {
    const body = source([Buffer.alloc(1000)])
    await expect(connect('http://127.0.0.1:1').send(post({ body }))).rejects.toMatchObject({
      reason: 'PROVIDER_UNREACHABLE',
      outcome: 'not_sent'
    })
    await expect(connect('http://127.0.0.1:1').send(post({ body, signal: AbortSignal.abort() }))).rejects.toMatchObject({
      reason: 'CANCELLED',
      outcome: 'not_sent'
    })
    expect(body.taken).toBe(0)
  })
})

function connect(baseUrl: string, maxConnections = 4) {
  return opened.use(createUpstreamClient({ provider: 'paint', baseUrl, maxConnections }))
}

function post(overrides: Partial<UpstreamRequest>): UpstreamRequest {
  return { method: 'POST', path: '/images/edits', headers: {}, signal: new AbortController().signal, timeoutMs: 10_000, ...overrides }
}

/** Chunks, then the failure, if there is one. */
function source(chunks: readonly Uint8Array[], failure?: Error) {
  const state = { taken: 0, released: false, sizeBytes: chunks.reduce((sum, { length }) => sum + length, 0), bytes: bytes() }

  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (const chunk of chunks) {
        state.taken++
        yield chunk
      }
      if (failure) throw failure
    } finally {
      state.released = true
    }
  }

  return state
}
