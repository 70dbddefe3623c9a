import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { StoredRequestSchema } from '../../gen/atelier/v1/stored_pb.ts'
import { fingerprintBytes } from '../../src/tasks/fingerprint.ts'

function bytesOf(request: MessageInitShape<typeof StoredRequestSchema>): string {
  return Buffer.from(fingerprintBytes(create(StoredRequestSchema, request))).toString('hex')
}

function generation(value: object, rest: object = {}) {
  return bytesOf({ operation: { case: 'generation', value: { prompt: 'a cat', ...value } }, ...rest })
}

function edit(value: object, rest: object = {}) {
  const images = [{ param: 'image', source: { case: 'digest', value: new Uint8Array([1]) } }] as const
  return bytesOf({ operation: { case: 'edit', value: { parameters: { prompt: 'a hat', ...value }, images: [...images], ...rest } } })
}

test('the order of unnamed parameters makes no difference, at any depth', () => {
  const one = { a: { x: 1, y: [{ p: 1, q: 2 }] }, b: null, '10': true, '9': false }
  const other = { '9': false, b: null, a: { y: [{ q: 2, p: 1 }], x: 1 }, '10': true }
  expect(generation({ providerOptions: one })).toBe(generation({ providerOptions: other }))
  expect(edit({ providerOptions: one })).toBe(edit({ providerOptions: other }))
})

test('the order of a list does', () => {
  expect(generation({ providerOptions: { a: [1, 2] } })).not.toBe(generation({ providerOptions: { a: [2, 1] } }))
})

test('neither the id of the request nor where its result is posted makes a difference', () => {
  expect(generation({ requestId: 'order-1' })).toBe(generation({ requestId: 'order-2' }))
  expect(edit({ requestId: 'order-1' })).toBe(edit({ requestId: 'order-2' }))
  expect(generation({}, { callbackUrl: 'https://one.example' })).toBe(generation({}, { callbackUrl: 'https://two.example' }))
})

test.each([
  ['prompt', generation({}), generation({ prompt: 'a dog' })],
  ['number of images', generation({}), generation({ n: 2 })],
  ['number of images, be it the usual one', generation({}), generation({ n: 1 })],
  ['kind of links', generation({}), generation({}, { permanentLinks: true })],
  ['operation', edit({}), bytesOf({ operation: { case: 'variation', value: { parameters: { prompt: 'a hat' } } } })],
  ['input image', edit({}), edit({}, { images: [{ param: 'image', source: { case: 'digest', value: new Uint8Array([2]) } }] })],
  ['mask', edit({}), edit({}, { mask: { param: 'mask', source: { case: 'digest', value: new Uint8Array([1]) } } })]
])('another %s is another request', (_, one, other) => {
  expect(one).not.toBe(other)
})

test('a request is left as it was', () => {
  const request = create(StoredRequestSchema, {
    operation: { case: 'generation', value: { requestId: 'order-1', providerOptions: { b: 1, a: 2 } } },
    callbackUrl: 'https://one.example'
  })
  fingerprintBytes(request)
  expect(request.callbackUrl).toBe('https://one.example')
  expect(request.operation.value).toMatchObject({ requestId: 'order-1' })
  expect(JSON.stringify(request.operation.value)).toContain('{"b":1,"a":2}')
})

test('the provider and the credential that were asked for make a difference, the key that was brought does not', () => {
  const chosen = (choice: object) => generation({}, { choice })
  expect(chosen({ provider: 'openai', credential: 'sk-one' })).toBe(chosen({ provider: 'openai', credential: 'sk-two' }))
  const all = [generation({}), chosen({ provider: 'openai' }), chosen({ provider: 'azure' }), chosen({ credentialName: 'second' })]
  expect(new Set(all).size).toBe(4)
})
