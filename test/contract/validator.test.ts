import { type DescMessage, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'
import { createValidator } from '@bufbuild/protovalidate'
import { file_buf_validate_validate } from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createLeanValidator } from '../../src/contract/validator.ts'
import { messages, typesOfTheSchema } from '../support/messages.ts'

const rulesOfTheLibrary = toBinary(FileDescriptorProtoSchema, file_buf_validate_validate.proto)
const libraryItself = createValidator()
const validator = createLeanValidator()

test.each(await typesOfTheSchema())('finds what the library finds: $typeName', (type) => {
  fc.assert(
    fc.property(messages(type), (message) => {
      const { kind, violations } = validator.validate<DescMessage>(type, message)
      const expected = libraryItself.validate<DescMessage>(type, message)
      expect({ kind, violations: violations?.map(String) }).toEqual({ kind: expected.kind, violations: expected.violations?.map(String) })
    }),
    { numRuns: 30 }
  )
})

test('leaves the descriptors as they were', () => {
  expect(toBinary(FileDescriptorProtoSchema, file_buf_validate_validate.proto)).toEqual(rulesOfTheLibrary)
})
