import { describe, expect, test } from 'vitest'
import { GatewayError } from '../../src/errors.ts'
import { encodeCallback, traceIdOf } from '../../src/tasks/callbacks/callback-body.ts'
import { callbackWaitMs } from '../../src/tasks/callbacks/callback-schedule.ts'
import { callbackSignature } from '../../src/tasks/callbacks/callback-signature.ts'
import { checkCallbackUrl } from '../../src/tasks/callbacks/callback-url.ts'
import { createUntrustedUrlFetcher } from '../../src/upstream/untrusted-url.ts'

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

describe('the body', () => {
  test('of a success has the fields and the order that the document shows', () => {
    const result = { created: 1721626477, data: [{ revised_prompt: 'a sea otter', url: 'https://images.example/1.png' }] }
    expect(encodeCallback({ taskId: 'task-1', traceId: 'trace-1', outcome: { result } })).toBe(
      '{"success":true,"task_id":"task-1","trace_id":"trace-1","data":{"created":1721626477,"data":[{"revised_prompt":"a sea otter","url":"https://images.example/1.png"}]}}'
    )
  })

  test('of a failure has the fields and the order that the document shows', () => {
    const error = { code: 'api_error', message: 'fetch failed' }
    expect(encodeCallback({ taskId: 'task-1', traceId: 'trace-1', outcome: { error } })).toBe(
      '{"success":false,"task_id":"task-1","error":{"code":"api_error","message":"fetch failed"},"trace_id":"trace-1"}'
    )
  })

  test('has a trace id of the task’s own where the caller gave none, always the same', () => {
    expect(traceIdOf('task-1', '')).toMatch(uuid)
    expect([traceIdOf('task-1', ''), traceIdOf('task-1', 'mine')]).toEqual([traceIdOf('task-1', ''), 'mine'])
    expect(traceIdOf('task-2', '')).not.toBe(traceIdOf('task-1', ''))
    expect(JSON.parse(encodeCallback({ taskId: 'task-1', traceId: '', outcome: { error: { code: '', message: '' } } })).trace_id).toBe(
      traceIdOf('task-1', '')
    )
  })
})

test('signs the example of Standard Webhooks as it is printed there', () => {
  const callback = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body: '{"test": 2432232314}', atMs: 1614265330_999 }
  expect(callbackSignature(callback, ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'])).toEqual({
    'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    'webhook-timestamp': '1614265330',
    'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
  })
})

describe('the schedule', () => {
  test('ends after ten tries', () => {
    const waits = Array.from({ length: 10 }, (_, index) => callbackWaitMs(index + 1, 0, () => 0.5))
    expect(waits).toEqual(
      [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map((seconds) => seconds * 1000).concat(undefined as never)
    )
  })

  test('varies by up to 20 percent', () => {
    expect([callbackWaitMs(2, 0, () => 0), callbackWaitMs(2, 0, () => 1)]).toEqual([240_000, 360_000])
    expect(new Set(Array.from({ length: 20 }, () => callbackWaitMs(9))).size).toBeGreaterThan(1)
  })

  test('does not go on because a receiver asks for a wait', () => {
    expect(callbackWaitMs(10, 60_000)).toBeUndefined()
  })
})

describe('a callback_url', () => {
  const allow = ['10.0.0.0/8:8080', 'hooks.inside:9000', '127.0.0.1:3000']

  test.each([
    'https://hooks.example/path?query',
    'https://hooks.example:443/',
    'HTTPS://HOOKS.EXAMPLE/',
    'https://8.8.8.8/',
    'https://[2606:4700:4700::1111]/',
    'https://bücher.example/',
    'http://hooks.inside:9000/',
    'https://hooks.inside:9000/',
    'http://10.1.2.3:8080/',
    // May resolve to 10.0.0.0/8.
    'http://hooks.example:8080/',
    'http://127.0.0.1:3000/',
    `https://hooks.example/${'a'.repeat(2048 - 'https://hooks.example/'.length)}`
  ])('is accepted: %s', async (url) => {
    await using fetcher = createUntrustedUrlFetcher({ allow })
    expect(() => checkCallbackUrl(url, { fetcher })).not.toThrow()
  })

  test.each([
    ['not a url', 'the url is not valid'],
    ['', 'the url is not valid'],
    ['ftp://hooks.example/', 'the url is not http or https but ftp:'],
    ['http://hooks.example/', 'the url to hooks.example is not https'],
    ['http://hooks.example:9000/', 'the url to hooks.example:9000 is not https'],
    ['http://8.8.8.8/', 'the url to 8.8.8.8 is not https'],
    ['https://user:secret@hooks.example/', 'the url to hooks.example holds credentials'],
    ['https://hooks.example:8443/', 'the port of hooks.example:8443 is not allowed'],
    ['https://hooks.example:9000/', 'the port of hooks.example:9000 is not allowed'],
    ['https://127.0.0.1/', '127.0.0.1 is not a public host'],
    ['https://0x7f.1/', '127.0.0.1 is not a public host'],
    ['https://[::ffff:10.0.0.1]/', '[::ffff:a00:1] is not a public host'],
    ['https://169.254.169.254/', '169.254.169.254 is not a public host'],
    ['https://127.0.0.1:3001/', 'the port of 127.0.0.1:3001 is not allowed'],
    ['https://8.8.8.8:8080/', 'the port of 8.8.8.8:8080 is not allowed'],
    [`https://hooks.example/${'a'.repeat(2048)}`, 'the url has 2070 characters, and at most 2048 are accepted']
  ])('is refused: %s', async (url, problem) => {
    await using fetcher = createUntrustedUrlFetcher({ allow })
    const rule = problem.includes('at most')
      ? ''
      : ': callbacks go to https addresses on the internet, and to those that egress.allow lists'
    const message = `callback_url: ${problem}${rule}`
    const refused = expect.objectContaining({ reason: 'INVALID_PARAMETER', param: 'callback_url', message })
    expect(() => checkCallbackUrl(url, { fetcher })).toThrow(refused)
    expect(() => checkCallbackUrl(url, { fetcher })).toThrow(GatewayError)
  })

  test('is not resolved', async () => {
    const asked: string[] = []
    const lookup = async (host: string) => {
      asked.push(host)
      return ['10.0.0.1']
    }
    await using fetcher = createUntrustedUrlFetcher({ allow, lookup })
    checkCallbackUrl('https://hooks.example/', { fetcher })
    expect(asked).toEqual([])
  })
})
