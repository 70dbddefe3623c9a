// Writes buf/validate/validate.proto from the descriptor in @bufbuild/protovalidate, because no npm package holds the .proto file.
// Options are left out: they define the standard rules in CEL, which the runtime takes from the package.
// Run it after an update of @bufbuild/protovalidate: npm run vendor:validate
import { writeFileSync } from 'node:fs'
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type
} from '@bufbuild/protobuf/wkt'
import { file_buf_validate_validate } from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js'

const file = file_buf_validate_validate.proto
const lines = [
  '// Copyright Buf Technologies, Inc. Licensed under the Apache License, Version 2.0.',
  '// Printed by third_party/print-validate-proto.ts, without comments and options.',
  'syntax = "proto2";',
  `package ${file.package};`,
  ...file.dependency.map((path) => `import "${path}";`),
  ...file.extension.map((field) => `extend ${field.extendee} { ${printField(field)} }`),
  ...file.messageType.flatMap(printMessage),
  ...file.enumType.flatMap(printEnum)
]
writeFileSync(new URL('./buf/validate/validate.proto', import.meta.url), `${lines.join('\n')}\n`)

function printMessage(message: DescriptorProto): string[] {
  return [
    `message ${message.name} {`,
    ...message.enumType.flatMap(printEnum),
    ...message.nestedType.flatMap(printMessage),
    ...message.oneofDecl.flatMap((oneof, index) => [
      `oneof ${oneof.name} {`,
      ...message.field.filter((field) => inOneof(field, message) === index).map((field) => printField(field, false)),
      '}'
    ]),
    ...message.field.filter((field) => inOneof(field, message) === undefined).map((field) => printField(field)),
    ...message.extensionRange.map((range) => `extensions ${range.start} to ${range.end > 536870911 ? 'max' : range.end - 1};`),
    ...message.reservedRange.map((range) => `reserved ${range.start} to ${range.end - 1};`),
    ...message.reservedName.map((name) => `reserved "${name}";`),
    '}'
  ]
}

function printEnum(type: EnumDescriptorProto): string[] {
  return [`enum ${type.name} {`, ...type.value.map((value) => `${value.name} = ${value.number};`), '}']
}

function printField(field: FieldDescriptorProto, labelled = true): string {
  const label = labelled ? `${Label[field.label]?.toLowerCase()} ` : ''
  const type = field.typeName === '' ? Type[field.type]?.toLowerCase() : field.typeName
  return `${label}${type} ${field.name} = ${field.number};`
}

function inOneof(field: FieldDescriptorProto, message: DescriptorProto): number | undefined {
  return Object.hasOwn(field, 'oneofIndex') && message.oneofDecl[field.oneofIndex] ? field.oneofIndex : undefined
}
