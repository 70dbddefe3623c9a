import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { createLog, withFields } from '../src/log.ts'

test('writes the same lines as a logger of its own with these fields', () => {
  const lines: string[] = []
  const destination = new Writable({
    write(chunk, _, done) {
      lines.push(String(chunk).replace(/"time":"[^"]*"/, '"time":""'))
      done()
    }
  })
  const log = createLog({ level: 'info', destination })
  const fields = { request: 'req_1', trace: 'abc' }
  for (const each of [withFields(log, fields), log.child(fields)]) {
    each.debug({ status: 200 }, 'not written')
    each.info({ status: 200 }, 'answered')
    each.warn({ reason: 'RATE_LIMITED' }, 'refused')
    each.error({ err: new RangeError('no', { cause: 'yes' }) }, 'failed')
  }
  expect(lines).toHaveLength(6)
  expect(lines.slice(0, 2)).toEqual(lines.slice(3, 5))
  expect(lines[0]).toBe('{"level":30,"time":"","request":"req_1","trace":"abc","status":200,"msg":"answered"}\n')
  expect(JSON.parse(lines[2] ?? '')).toMatchObject({
    level: 50,
    request: 'req_1',
    err: { name: 'RangeError', message: 'no' },
    msg: 'failed'
  })
})
