import { fromBinary, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { StoredErrorSchema } from '../../gen/atelier/v1/stored_pb.ts'
import { errorTable, GatewayError, gatewayError, type Reason } from '../../src/errors.ts'
import { toGatewayErrorAgain, toStoredError, toTaskError } from '../../src/tasks/store/stored-error.ts'

const reasons = Object.keys(errorTable) as Reason[]

test.each(reasons)('keeps an error of the reason %s as it was thrown', (reason) => {
  const names = [...errorTable[reason].message.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? '')
  const text = fc.string({ unit: 'grapheme' })
  const options = fc.record(
    {
      param: text,
      outcome: fc.constantFrom('not_sent' as const, 'rejected' as const, 'unknown' as const),
      retryable: fc.boolean(),
      code: text,
      moderation: fc.record({ stage: fc.constantFrom('input' as const, 'output' as const, 'unknown' as const), categories: fc.array(text) })
    },
    { requiredKeys: [] }
  )
  const fields = fc.record(Object.fromEntries(names.map((name) => [name, name === 'param' ? text : fc.oneof(text, fc.integer())])))
  fc.assert(
    fc.property(fields, options, (named, given) => {
      const error = new GatewayError(reason, named, given)
      const stored = fromBinary(StoredErrorSchema, toBinary(StoredErrorSchema, toStoredError(error)))
      expect(shown(toGatewayErrorAgain(stored))).toEqual(shown(error))
    }),
    { numRuns: 50 }
  )
})

test('keeps an error whose text is no proper Unicode', () => {
  const error = gatewayError('PROVIDER_REJECTED', { problem: 'half a pair: \ud800' })
  const stored = fromBinary(StoredErrorSchema, toBinary(StoredErrorSchema, toStoredError(error)))
  expect(toGatewayErrorAgain(stored).message).toBe('half a pair: \ufffd')
})

test('takes an error of a newer program for an internal one', () => {
  const stored = toStoredError(gatewayError('CANCELLED', {}))
  expect(toGatewayErrorAgain({ ...stored, reason: 999 as typeof stored.reason }).reason).toBe('INTERNAL')
})

test.each([
  [gatewayError('PROVIDER_FAILED', { provider: 'p', problem: 'x' }), true],
  [gatewayError('PROVIDER_FAILED', { provider: 'p', problem: 'x' }, { outcome: 'rejected' }), false],
  [gatewayError('NOT_STARTED', {}), false],
  [gatewayError('NOT_STARTED', {}, { outcome: 'unknown' }), true]
])('tells whether %s may be billed', (error, mayBeBilled) => {
  expect(toTaskError(error)).toMatchObject({ message: error.message, mayBeBilled, code: error.code ?? '', type: error.entry.type })
})

function shown({ reason, message, param, code, outcome, retryable, moderation, entry }: GatewayError) {
  return { reason, message, param, code, outcome, retryable, moderation, entry }
}
