import { readdir } from 'node:fs/promises'
import { create, type DescField, type DescFile, type DescMessage, getOption, type Message, ScalarType } from '@bufbuild/protobuf'
import { StructSchema } from '@bufbuild/protobuf/wkt'
import { field as fieldRules } from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js'
import fc from 'fast-check'

const schemaDirectory = new URL('../../gen/atelier/v1/', import.meta.url)

/** Every message that our schema has at the top of a file. */
export async function typesOfTheSchema(): Promise<DescMessage[]> {
  const names = (await readdir(schemaDirectory)).filter((name) => name.endsWith('_pb.ts'))
  const files = await Promise.all(names.map((name) => import(new URL(name, schemaDirectory).href)))
  return files.flatMap((exported: Record<string, DescFile>) =>
    Object.entries(exported).flatMap(([name, file]) => (name.startsWith('file_') ? file.messages : []))
  )
}

/** Messages whose fields are mostly legal, at the limits of the rules, or just beyond them. */
export function messages(type: DescMessage, depth = 0): fc.Arbitrary<Message> {
  if (type.typeName === StructSchema.typeName) return fc.constant({ a: 1 } as unknown as Message)
  const fields = type.fields.filter((field) => !field.message || depth < 2)
  const values = fields.map((field) => fc.option(valuesOf(field, depth), { nil: undefined, freq: 3 }))
  return fc.tuple(...values).map((all) => {
    const message = create(type) as unknown as Record<string, unknown>
    for (const [place, value] of all.entries()) {
      const field = fields[place]
      if (!field || value === undefined) continue
      if (field.oneof) message[field.oneof.localName] = { case: field.localName, value }
      else message[field.localName] = value
    }
    return message as unknown as Message
  })
}

function valuesOf(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.fieldKind === 'list') return fc.array(oneValue(field, depth), { maxLength: 3 })
  if (field.fieldKind === 'map')
    return fc.dictionary(fc.constantFrom('', 'a', 'openai', 'A B', 'x'.repeat(64)), oneValue(field, depth), { maxKeys: 3 })
  return oneValue(field, depth)
}

function oneValue(field: DescField, depth: number): fc.Arbitrary<unknown> {
  if (field.message) return messages(field.message, depth + 1)
  if (field.enum) return fc.constantFrom(...field.enum.values.map(({ number }) => number), 0, 99)
  switch (field.scalar) {
    case ScalarType.STRING:
      return fc.oneof(
        fc.string({ maxLength: 12 }),
        fc.constantFrom(63, 64, 65, 128, 255, 256, 257, 512, 513, 131_072, 131_073).map((length) => 'x'.repeat(length)),
        fc.constantFrom(128, 129, 256, 257).map((length) => '🐈'.repeat(length)),
        ...patternsOf(field).map(nearly)
      )
    case ScalarType.BOOL:
      return fc.boolean()
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 4 })
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return fc.bigInt({ min: 0n, max: 1_000n })
    default:
      return fc.constantFrom(0, 1, 3, 4, 10, 11, 100, 101, 1000, 1001, 16_384, 16_385)
  }
}

/** The patterns that the schema has for a field, for its elements, keys or values. */
function patternsOf(field: DescField): string[] {
  const { type } = getOption(field, fieldRules)
  const all =
    type.case === 'repeated' ? [type.value.items?.type] : type.case === 'map' ? [type.value.keys?.type, type.value.values?.type] : [type]
  return all.flatMap((each) => (each?.case === 'string' && each.value.pattern !== '' ? [each.value.pattern] : []))
}

/** Texts that match a pattern, mostly with a character too many that one kind of expressions may take for another. */
function nearly(pattern: string): fc.Arbitrary<string> {
  const odd = fc.constantFrom('', '', '\n', '\r', ' ', '\t', '\v', '\u00a0', '\u2028', '\ufeff', 'é', '🐈', '/', '?', '@', '-', 'x', '0')
  return fc
    .tuple(fc.stringMatching(new RegExp(pattern, 'u'), { maxLength: 80 }), odd, fc.nat())
    .map(([text, character, at]) => text.slice(0, at % (text.length + 1)) + character + text.slice(at % (text.length + 1)))
}
