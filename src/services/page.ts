import { createPlaceTokens, type PlaceTokensOptions } from './place-tokens.ts'

/** What a list request says about the page that it wants. */
export interface PageRequest {
  /** 0 means 20. */
  pageSize: number
  pageToken: string
}

/** The rows of a page and the token of the next one, which is empty where this is the last. */
export interface Page<Row> {
  rows: Row[]
  nextPageToken: string
}

export interface List<Row, Place extends readonly (string | number)[]> extends Pick<PlaceTokensOptions<Place>, 'name' | 'shape'> {
  read(limit: number, after: Place | undefined): Promise<Row[]>
  placeOf(row: Row): Place
}

/**
 * Reads one page. `read` gets how many rows to read and where the page before ended: the values that `placeOf` gave for its last row, or
 * undefined for the first page. Throws INVALID_PARAMETER for a token that no such list gave out.
 */
export async function readPage<Row, Place extends readonly (string | number)[]>(
  request: PageRequest,
  list: List<Row, Place>
): Promise<Page<Row>> {
  const size = request.pageSize || defaultPageSize
  const tokens = createPlaceTokens<Place>(list)
  // One more than asked for tells whether there is a next page.
  const rows = await list.read(size + 1, tokens.read(request.pageToken))
  const last = rows.length > size ? rows[size - 1] : undefined
  return { rows: rows.slice(0, size), nextPageToken: last === undefined ? '' : tokens.write(list.placeOf(last)) }
}

const defaultPageSize = 20
