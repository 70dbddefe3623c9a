import { gatewayError } from '../errors.ts'

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

/**
 * Reads one page. `read` gets how many rows to read and where the page before ended: the values that `placeOf` gave for its last row, or
 * undefined for the first page. Throws INVALID_PARAMETER for a token that no such list gave out.
 */
export async function readPage<Row, Place extends readonly (string | number)[]>(
  request: PageRequest,
  list: { name: string; read(limit: number, after: Place | undefined): Promise<Row[]>; placeOf(row: Row): Place }
): Promise<Page<Row>> {
  const size = request.pageSize || defaultPageSize
  // One more than asked for tells whether there is a next page.
  const rows = await list.read(size + 1, readToken<Place>(request.pageToken, list.name))
  const last = rows.length > size ? rows[size - 1] : undefined
  return { rows: rows.slice(0, size), nextPageToken: last === undefined ? '' : writeToken(list.name, list.placeOf(last)) }
}

const defaultPageSize = 20

function writeToken(name: string, place: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify([name, ...place])).toString('base64url')
}

function readToken<Place extends readonly (string | number)[]>(token: string, name: string): Place | undefined {
  if (token === '') return undefined
  try {
    const [of, ...place] = JSON.parse(Buffer.from(token, 'base64url').toString())
    if (of === name && writeToken(name, place) === token) return place as unknown as Place
  } catch {
    // Told below, as any other token that is not ours.
  }
  throw gatewayError('INVALID_PARAMETER', { param: 'page_token', problem: 'must be the next_page_token of the page before' })
}
