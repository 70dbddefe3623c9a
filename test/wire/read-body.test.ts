import type { IncomingMessage } from 'node:http'
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
