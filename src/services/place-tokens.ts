import { gatewayError } from '../errors.ts'

/** The token of a place: what a list is ordered by, or how far something has come, in the hands of whoever asks for what comes next. */
export interface PlaceTokens<Place> {
  write(place: Place): string
  /** Undefined for an empty token. Throws INVALID_PARAMETER for one that `write` did not give out. */
  read(token: string): Place | undefined
}

export interface PlaceTokensOptions<Place extends readonly (string | number)[]> {
  /** Of what: the tokens of one list are refused by all others. */
  name: string
  /** What each value of a place is; numbers are whole and not negative. */
  shape: { [At in keyof Place]: Place[At] extends number ? 'number' : 'string' }
  /** The field that tokens come in, and where they come from. */
  param?: string
  source?: string
  /** Whether such a place exists, where its shape does not tell. */
  exists?(place: Place): boolean
}

export function createPlaceTokens<Place extends readonly (string | number)[]>(options: PlaceTokensOptions<Place>): PlaceTokens<Place> {
  const { name, shape, param = 'page_token', source = 'the next_page_token of the page before', exists = () => true } = options
  const types: readonly string[] = shape
  const isPlace = (values: readonly unknown[]): values is Place =>
    values.length === types.length &&
    values.every((value, at) => typeof value === types[at] && isStorable(value)) &&
    exists(values as Place)
  const write = (place: Place) => Buffer.from(JSON.stringify([name, ...place])).toString('base64url')
  return {
    write,
    read(token) {
      if (token === '') return undefined
      const [of, ...place] = parse(token)
      if (of === name && isPlace(place) && write(place) === token) return place
      throw gatewayError('INVALID_PARAMETER', { param, problem: `must be ${source}` })
    }
  }
}

function parse(token: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(token, 'base64url').toString())
    return Array.isArray(value) ? value : []
  } catch {
    return []
  }
}

/** A database takes neither fractions for whole numbers nor the null character in a text. */
function isStorable(value: unknown): boolean {
  return typeof value === 'number' ? Number.isSafeInteger(value) && value >= 0 : !String(value).includes('\0')
}
