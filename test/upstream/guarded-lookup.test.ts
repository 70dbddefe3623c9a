import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { createAddressRules } from '../../src/upstream/address-rules.ts'
import { createGuardedLookup } from '../../src/upstream/guarded-lookup.ts'

/** What a connection to the name would be given, as `node:net` asks for it. */
function resolve(addresses: readonly string[], { allow = [] as string[], all = true, port = 443 } = {}) {
  const lookup = createGuardedLookup({ port, rules: createAddressRules(allow), lookup: async () => addresses })
  return new Promise((done) =>
    lookup('llm.example', { all }, (error, found, family) => done(error?.code ?? (all ? found : [found, family])))
  )
}

test('gives public addresses, all of them or the first', async () => {
  expect(await resolve(['93.184.215.14', '2606:2800:21f::1'])).toEqual([
    { address: '93.184.215.14', family: 4 },
    { address: '2606:2800:21f::1', family: 6 }
  ])
  expect(await resolve(['2606:2800:21f::1'], { all: false })).toEqual(['2606:2800:21f::1', 6])
})

test.each([['127.0.0.1'], ['10.0.0.1'], ['169.254.169.254'], ['::1'], ['fd00::1'], ['::ffff:10.0.0.1']])(
  'gives nothing where one is %s',
  async (address) => {
    expect(await resolve(['93.184.215.14', address])).toBe('ERR_ADDRESS_NOT_PUBLIC')
  }
)

test('gives nothing where the name does not resolve', async () => {
  expect(await resolve([])).toBe('ERR_ADDRESS_NOT_PUBLIC')
})

test('gives private addresses that the operator allows, on the port that it names', async () => {
  expect(await resolve(['10.0.0.1'], { allow: ['10.0.0.0/8:443'] })).toEqual([{ address: '10.0.0.1', family: 4 }])
  expect(await resolve(['10.0.0.1'], { allow: ['llm.example:443'] })).toEqual([{ address: '10.0.0.1', family: 4 }])
  expect(await resolve(['10.0.0.1'], { allow: ['llm.example:8443'] })).toBe('ERR_ADDRESS_NOT_PUBLIC')
})

test('is asked by every connection, and stops it before it is made', async () => {
  const lookup = createGuardedLookup({ port: 9, rules: createAddressRules([]), lookup: async () => ['127.0.0.1'] })
  const failure = await new Promise((done) => connect({ host: 'llm.example', port: 9, lookup }).once('error', done))
  expect(failure).toMatchObject({ code: 'ERR_ADDRESS_NOT_PUBLIC' })
})
