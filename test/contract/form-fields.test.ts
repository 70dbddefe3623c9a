import { expect, test } from 'vitest'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { formToJson } from '../../src/contract/form-fields.ts'

test('reads numbers and booleans where the schema has them, and text elsewhere', () => {
  expect(
    read([
      ['prompt', '12'],
      ['n', '2'],
      ['partial_images', '0'],
      ['strict', 'True'],
      ['stream', 'false'],
      ['size', '1024x1024'],
      ['model', 'true'],
      ['vendor_option', '7']
    ])
  ).toEqual({
    prompt: '12',
    n: 2,
    partial_images: 0,
    strict: true,
    stream: false,
    size: '1024x1024',
    model: 'true',
    vendor_option: '7'
  })
})

test('leaves empty fields unset', () => {
  expect(
    read([
      ['n', ''],
      ['stream', ''],
      ['user', '']
    ])
  ).toEqual({ n: null, stream: null, user: null })
})

test('gathers lists', () => {
  expect(
    read([
      ['styles[]', 'a'],
      ['styles[]', 'b']
    ])
  ).toEqual({ styles: ['a', 'b'] })
})

test.each([
  ['n', 'two', 'n: must be a number'],
  ['n', '0x10', 'n: must be a number'],
  ['n', ' 2', 'n: must be a number'],
  ['n', 'Infinity', 'n: must be a number'],
  ['stream', 'yes', 'stream: must be true or false']
])('refuses %s=%s', (name, text, message) => {
  expect(() => read([[name, text]])).toThrow(message)
})

test.each([['prompt'], ['vendor_option']])('refuses %s when it is sent twice', (name) => {
  expect(() =>
    read([
      [name, 'a'],
      [name, 'b']
    ])
  ).toThrow(`${name}: was sent twice`)
})

test.each([['__proto__'], ['__proto__[]']])('refuses the name %s', (name) => {
  expect(() => read([[name, 'a']])).toThrow('__proto__: is not accepted')
})

function read(fields: [string, string][]) {
  return formToJson(GenerateImagesRequestSchema, fields, { booleans: ['stream'] })
}
