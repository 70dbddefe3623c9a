import type { DescMessage, MessageShape } from '@bufbuild/protobuf'
import type { Violation } from '@bufbuild/protovalidate'
import { selectorOf } from '../contract/json.ts'
import { violationsOf } from '../contract/validator.ts'
import { type GatewayError, gatewayError } from '../errors.ts'

/** Checks a message against the rules that stand beside its fields in the schema; throws the first violation as a GatewayError. */
export function validate<Desc extends DescMessage>(type: Desc, message: MessageShape<Desc>): void {
  const violations = violationsOf(type, message)
  if (violations.length > 0) throw toError(type, message, violations)
}

function toError(type: DescMessage, message: MessageShape<DescMessage>, violations: readonly Violation[]): GatewayError {
  const violation = violations[0]
  if (!violation) return gatewayError('INVALID_PARAMETER', { param: type.name, problem: 'is not valid' })
  const param = pathOf(violation)
  const field = type.fields.find((candidate) => candidate.name === param)
  if (field && violation.ruleId === 'string.min_len' && (message as unknown as Record<string, unknown>)[field.localName] === '') {
    return gatewayError('MISSING_PARAMETER', { param })
  }
  const more = violations.length > 1 ? ` (and ${violations.length - 1} more problem${violations.length > 2 ? 's' : ''})` : ''
  return gatewayError('INVALID_PARAMETER', { param, problem: `${violation.message || violation.ruleId}${more}` })
}

/** The field as the contract spells it, e.g. "images[2].url"; for the members of a selector the name that they share, e.g. "size". */
function pathOf(violation: Violation): string {
  const [first] = violation.field
  const selector = first?.kind === 'field' && first.oneof ? selectorOf(first.oneof) : undefined
  if (selector !== undefined) return selector
  return violation.field
    .map((part) => {
      if (part.kind === 'list_sub') return `[${part.index}]`
      if (part.kind === 'map_sub') return `["${String(part.key)}"]`
      return `.${part.name}`
    })
    .join('')
    .replace(/^\./, '')
}
