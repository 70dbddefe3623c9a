import { type GatewayError, toGatewayError, withParam } from '../errors.ts'

/** Our own options travel as headers on REST, so that bodies stay the vendor's. */
const headerOfField = new Map([
  ['request_id', 'Idempotency-Key'],
  ['strict', 'x-atelier-strict'],
  ['on_interrupt', 'x-atelier-on-interrupt'],
  ['on_disconnect', 'x-atelier-on-disconnect'],
  ['max_cost_micros', 'x-atelier-max-cost']
])

/** Fields of a request that its body does not hold on REST: there these names are the vendor's. */
export const headerFields: readonly string[] = [...headerOfField.keys(), 'provider_options']

/** Any thrown value, with the field at fault named as a REST caller wrote it. */
export function toRestWords(thrown: unknown): GatewayError {
  const error = toGatewayError(thrown)
  const header = headerOfField.get(error.param ?? '')
  return header === undefined ? error : withParam(error, header)
}
