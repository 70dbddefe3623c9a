import { type DescField, getOption } from '@bufbuild/protobuf'
import { field as fieldRules } from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js'

/** The words that the schema allows for a field; empty where it lists none. */
export function allowedWords(field: DescField): string[] {
  const { type } = getOption(field, fieldRules)
  return type.case === 'string' ? type.value.in.filter((word) => word !== '') : []
}

/** Whether a field holds "on" or "off", which many write as true or false. */
export function isSwitch(field: DescField): boolean {
  const words = allowedWords(field)
  return words.includes('on') && words.includes('off')
}

/** The numbers that the schema allows for a field; a field without rule takes every unsigned 32-bit number. */
export function allowedNumbers(field: DescField): { least: number; most: number } {
  const { type } = getOption(field, fieldRules)
  if (type.case !== 'uint32') return { least: 0, most: 4_294_967_295 }
  const { greaterThan, lessThan } = type.value
  return {
    least: greaterThan.case === 'gte' ? greaterThan.value : 0,
    most: lessThan.case === 'lte' ? lessThan.value : 4_294_967_295
  }
}

/** "a, b or c" */
export function alternatives(words: readonly string[]): string {
  return words.join(', ').replace(/, ([^,]*)$/, ' or $1')
}
