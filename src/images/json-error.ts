/**
 * JSON that was refused. `malformed`: not JSON, or not JSON that is accepted here; `limit`: deeper, larger or with more keys than allowed;
 * `truncated`: it ended early. The message says what and at which byte, and never quotes the document.
 */
export class JsonError extends Error {
  readonly kind: 'malformed' | 'limit' | 'truncated'

  constructor(kind: JsonError['kind'], message: string) {
    super(message)
    this.name = 'JsonError'
    this.kind = kind
  }
}

/**
 * What `JSON.parse` said about `text`, with the place that `byteAt` makes of an index into the UTF-8 form of the text. V8's own sentences
 * are kept, without the piece of the document that some of them quote.
 */
export function toJsonError(thrown: unknown, text: string, byteAt: (utf8Index: number) => number): JsonError {
  const said = thrown instanceof SyntaxError ? thrown.message : ''
  if (said === endOfInput) return new JsonError('truncated', `the document ends early, at byte ${byteAt(Buffer.byteLength(text))}`)
  const [, problem, position] = /^(.+?)(?: in JSON)? at position (\d+)/.exec(said) ?? []
  const index = position === undefined ? findUnexpectedToken(text) : Number(position)
  const what = problem === undefined ? 'unexpected character' : problem.charAt(0).toLowerCase() + problem.slice(1)
  return new JsonError('malformed', `${what}${index === undefined ? '' : ` at byte ${byteAt(Buffer.byteLength(text.slice(0, index)))}`}`)
}

const endOfInput = 'Unexpected end of JSON input'

/** Keeps the search below a millisecond or so. */
const longestSearched = 65_536

/** V8 does not say where an unexpected token stands: it is the last character of the shortest beginning that has the same fault. */
function findUnexpectedToken(text: string): number | undefined {
  if (text.length > longestSearched) return undefined
  let sound = 0
  let faulty = text.length
  while (faulty - sound > 1) {
    const middle = (sound + faulty) >> 1
    if (hasUnexpectedToken(text.slice(0, middle))) faulty = middle
    else sound = middle
  }
  return sound
}

function hasUnexpectedToken(text: string): boolean {
  try {
    JSON.parse(text)
    return false
  } catch (error) {
    return error instanceof SyntaxError && error.message.startsWith('Unexpected token')
  }
}
