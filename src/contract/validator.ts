import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { DescMessage, MessageShape } from '@bufbuild/protobuf'
import type { Validator, Violation } from '@bufbuild/protovalidate'
import {
  BoolRulesSchema,
  BytesRulesSchema,
  DoubleRulesSchema,
  EnumRulesSchema,
  FloatRulesSchema,
  Int32RulesSchema,
  Int64RulesSchema,
  MapRulesSchema,
  RepeatedRulesSchema,
  StringRulesSchema,
  UInt32RulesSchema,
  UInt64RulesSchema
} from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js'
import { createQuickCheck, type QuickCheck } from './quick-check.ts'

/**
 * What breaks the rules that stand beside the fields of a message in the schema; empty for a message that keeps them all. The library that
 * tells is loaded for the first message that is not plainly valid, which costs 7 MB and some 50 ms, once.
 */
export function violationsOf<Desc extends DescMessage>(type: Desc, message: MessageShape<Desc>): readonly Violation[] {
  if (isPlainlyValid(type, message)) return []
  const result = theValidator().validate(type, message)
  if (result.kind === 'error') throw result.error
  return result.violations ?? []
}

const isPlainlyValid = createQuickChecks()
const theValidator = once(createLeanValidator)

function createQuickChecks(): <Desc extends DescMessage>(type: Desc, message: MessageShape<Desc>) => boolean {
  const checks = new Map<DescMessage, QuickCheck<DescMessage>>()
  return (type, message) => {
    let check = checks.get(type)
    if (!check) {
      check = createQuickCheck<DescMessage>(type)
      checks.set(type, check)
    }
    return check(message)
  }
}

function once<Value>(make: () => Value): () => Value {
  let made: { value: Value } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

/**
 * The library carries out the standard rules itself, but also parses the CEL text of each of them the first time it meets a rule of that kind,
 * used or not: half of all that it would compute and allocate. So a type is planned without those texts.
 */
export function createLeanValidator(): Validator {
  const validator = loadLibrary().createValidator()
  const planned = new Set<DescMessage>()
  return {
    validate(type, message) {
      if (planned.has(type)) return validator.validate(type, message)
      planned.add(type)
      return withoutTexts(() => validator.validate(type, message))
    }
  }
}

/** The same modules that `import` would load: `require` by name would load others, with a schema library of their own. */
function loadLibrary(): typeof import('@bufbuild/protovalidate') {
  return createRequire(import.meta.url)(fileURLToPath(import.meta.resolve('@bufbuild/protovalidate')))
}

/** Of every rule that the library carries out without CEL; not of `unique`, for which it needs CEL in lists of messages. */
const rulesWithText = [
  BoolRulesSchema,
  BytesRulesSchema,
  DoubleRulesSchema,
  EnumRulesSchema,
  FloatRulesSchema,
  Int32RulesSchema,
  Int64RulesSchema,
  MapRulesSchema,
  RepeatedRulesSchema,
  StringRulesSchema,
  UInt32RulesSchema,
  UInt64RulesSchema
].flatMap(({ fields }: DescMessage) => fields.filter(({ proto, name }) => proto.options !== undefined && name !== 'unique'))

/** The descriptors are everybody's, so their options are back when it returns. */
function withoutTexts<Result>(run: () => Result): Result {
  const hidden = rulesWithText.map(({ proto }) => ({ proto, options: proto.options }))
  for (const { proto } of hidden) delete proto.options
  try {
    return run()
  } finally {
    for (const { proto, options } of hidden) if (options) proto.options = options
  }
}
