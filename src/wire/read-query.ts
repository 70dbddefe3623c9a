import { gatewayError } from '../errors.ts'

/** The parameters after the question mark. Throws INVALID_PARAMETER for one that is not among the legal ones, and for one given twice that is not among the repeatable. */
export function readQuery(url: string | undefined, legal: readonly string[], repeatable: readonly string[] = []): URLSearchParams {
  const query = new URLSearchParams(/\?([^#]*)/.exec(url ?? '')?.[1] ?? '')
  for (const name of new Set(query.keys())) {
    const param = name.slice(0, 60)
    if (!legal.includes(name)) {
      const problem = legal.length === 0 ? 'is not known here: there are no query parameters' : `is not known here: use ${legal.join(', ')}`
      throw gatewayError('INVALID_PARAMETER', { param, problem })
    }
    if (query.getAll(name).length > 1 && !repeatable.includes(name))
      throw gatewayError('INVALID_PARAMETER', { param, problem: 'was sent twice' })
  }
  return query
}

/** A whole number in the query; undefined where it is not there. Throws INVALID_PARAMETER for anything else. */
export function wholeNumber(query: URLSearchParams, param: string, [least, most]: readonly [number, number]): number | undefined {
  const text = query.get(param)
  if (text === null) return undefined
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw gatewayError('INVALID_PARAMETER', { param, problem: `must be a whole number from ${least} to ${most}, not "${text.slice(0, 40)}"` })
}
