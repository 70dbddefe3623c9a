import { type DescEnum, type DescMessage, type EnumShape, getOption, hasOption } from '@bufbuild/protobuf'
import { text_format, wire_name } from '../../gen/atelier/v1/options_pb.ts'

interface WireNames {
  byNumber: ReadonlyMap<number, string>
  byName: ReadonlyMap<string, number>
}

/** The REST spelling of an enum value; undefined for unspecified and unknown values. */
export function wireName(type: DescEnum, value: number): string | undefined {
  return namesOf(type).byNumber.get(value)
}

/** The enum value that has this REST spelling. */
export function enumValue<Desc extends DescEnum>(type: Desc, name: string): EnumShape<Desc> | undefined {
  return namesOf(type).byName.get(name) as EnumShape<Desc> | undefined
}

/** All REST spellings of an enum, in the order of the schema. */
export function wireNames(type: DescEnum): string[] {
  return [...namesOf(type).byName.keys()]
}

// Reading an option decodes the descriptor's unknown fields each time (5 µs), hence the caches.
const enums = new WeakMap<DescEnum, WireNames>()

function namesOf(type: DescEnum): WireNames {
  let names = enums.get(type)
  if (!names) {
    const named = type.values
      .filter((value) => hasOption(value, wire_name))
      .map((value) => [value.number, getOption(value, wire_name)] as const)
    names = { byNumber: new Map(named), byName: new Map(named.map(([number, name]) => [name, number])) }
    enums.set(type, names)
  }
  return names
}

/** How a message is written as one string, e.g. `{width}x{height}`. */
export interface TextFormat {
  /** The values of the named fields, or undefined where the text does not fit. */
  parse(text: string): Record<string, number> | undefined
  format(message: Record<string, unknown>): string
}

const formats = new WeakMap<DescMessage, TextFormat | null>()

/** The `text_format` of a message; undefined for messages that have none. Its fields are unsigned integers. */
export function textFormat(type: DescMessage): TextFormat | undefined {
  let format = formats.get(type)
  if (format === undefined) {
    format = hasOption(type, text_format) ? makeTextFormat(getOption(type, text_format)) : null
    formats.set(type, format)
  }
  return format ?? undefined
}

function makeTextFormat(template: string): TextFormat {
  const pattern = new RegExp(`^${template.replace(/\{(\w+)\}/g, '(?<$1>[1-9][0-9]{0,8})')}$`)
  return {
    parse: (text) => {
      const groups = pattern.exec(text)?.groups
      return groups && Object.fromEntries(Object.entries(groups).map(([name, digits]) => [name, Number(digits)]))
    },
    format: (message) => template.replace(/\{(\w+)\}/g, (_, name: string) => String(message[name]))
  }
}
