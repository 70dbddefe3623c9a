import { gatewayError } from '../errors.ts'
import { asBuffer } from '../images/as-buffer.ts'
import { type PartHeaders, parsePartHeaders } from './part-headers.ts'

export interface MultipartPart extends PartHeaders {
  /** The content. It is read, or left unread, before the next part is asked for; leaving it early does not release the body. */
  chunks: AsyncIterable<Uint8Array>
}

export interface MultipartLimits {
  /** Fields and files together. */
  maxParts: number
}

/** The boundary that a `multipart/form-data` content type names; undefined for every other type. Throws MALFORMED_BODY where it names none. */
export function boundaryOf(contentType: string | undefined): string | undefined {
  if (!/^multipart\/form-data[ \t]*(;|$)/i.test(contentType ?? '')) return undefined
  const [, quoted, bare] = /;[ \t]*boundary=(?:"([^"\r\n]*)"|([^\s";,]+))[ \t]*(?:;|$)/i.exec(contentType ?? '') ?? []
  const boundary = quoted ?? bare ?? ''
  if (!/^[\x20-\x7e]{1,70}$/.test(boundary)) throw malformed('the content-type names no boundary of 1 to 70 characters')
  return boundary
}

/**
 * Reads a multipart/form-data body part by part as it arrives, and keeps no more of it than one chunk. Throws MALFORMED_BODY for what is
 * no such body or is beyond a limit, also out of a part's content, and what the source throws.
 */
export async function* readMultipart(
  source: AsyncIterable<Uint8Array>,
  boundary: string,
  limits: MultipartLimits
): AsyncGenerator<MultipartPart, void, undefined> {
  const window = createWindow(source)
  const delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
  // The first boundary may stand at the very beginning, without a line break before it.
  window.push(Buffer.from('\r\n'))
  let preambleBytes = 0
  for await (const skipped of upTo(window, delimiter)) {
    preambleBytes += skipped.length
    if (preambleBytes > maxAsideBytes) throw malformed('its boundary does not occur where it begins')
  }
  for (let count = 1; await opensPart(window); count++) {
    if (count > limits.maxParts) throw malformed(`it has more than ${limits.maxParts} parts`)
    const headers = parsePartHeaders(await readHead(window))
    window.atDelimiter = false
    yield { ...headers, chunks: upTo(window, delimiter) }
    while (!window.atDelimiter) for await (const _ of upTo(window, delimiter));
  }
  let epilogueBytes = 0
  for (; window.rest().length > 0 || (await window.more()); window.skip(window.rest().length)) {
    epilogueBytes += window.rest().length
    if (epilogueBytes > maxAsideBytes) throw malformed('it goes on behind its last boundary')
  }
}

/** Of what may stand before the first boundary and behind the last one. */
const maxAsideBytes = 65_536
const maxHeadBytes = 8192

/** What has arrived and was not taken yet. */
interface Window {
  /** Whether the delimiter behind the current part has been taken. */
  atDelimiter: boolean
  rest(): Buffer
  skip(length: number): void
  /** Puts bytes behind the rest. */
  push(bytes: Buffer): void
  /** Waits for the next bytes; false at the end of the source. */
  more(): Promise<boolean>
}

function createWindow(source: AsyncIterable<Uint8Array>): Window {
  const chunks = source[Symbol.asyncIterator]()
  let bytes: Buffer = Buffer.alloc(0)
  let offset = 0
  const window: Window = {
    atDelimiter: false,
    rest: () => bytes.subarray(offset),
    skip(length) {
      offset += length
    },
    push(added) {
      bytes = offset === bytes.length ? added : Buffer.concat([bytes.subarray(offset), added])
      offset = 0
    },
    async more() {
      const { done, value } = await chunks.next()
      if (!done) window.push(asBuffer(value))
      return !done
    }
  }
  return window
}

/** Takes everything before the delimiter, and the delimiter. */
async function* upTo(window: Window, delimiter: Buffer): AsyncGenerator<Buffer, void, undefined> {
  while (!window.atDelimiter) {
    const rest = window.rest()
    const at = rest.indexOf(delimiter)
    const end = at === -1 ? startOfPartial(rest, delimiter) : at
    window.skip(at === -1 ? end : end + delimiter.length)
    window.atDelimiter = at !== -1
    if (end > 0) yield rest.subarray(0, end)
    if (!window.atDelimiter && !(await window.more())) throw endsEarly()
  }
}

/** Where a delimiter begins that the next bytes may complete; the length where none does. */
function startOfPartial(bytes: Buffer, delimiter: Buffer): number {
  const first = Math.max(0, bytes.length - delimiter.length + 1)
  for (let at = bytes.indexOf(0x0d, first); at !== -1; at = bytes.indexOf(0x0d, at + 1)) {
    if (bytes.compare(delimiter, 0, bytes.length - at, at) === 0) return at
  }
  return bytes.length
}

/** Reads what stands behind a boundary: a line break before another part, or two dashes at the end. */
async function opensPart(window: Window): Promise<boolean> {
  for (let padding = 0; padding < 128; ) {
    const rest = window.rest()
    if (rest.length < padding + 2) {
      if (!(await window.more())) throw endsEarly()
      continue
    }
    const two = rest.toString('latin1', padding, padding + 2)
    if (two === '\r\n' || (two === '--' && padding === 0)) {
      window.skip(padding + 2)
      return two === '\r\n'
    }
    if (two[0] !== ' ' && two[0] !== '\t') break
    padding += 1
  }
  throw malformed('a boundary is not followed by a line break')
}

async function readHead(window: Window): Promise<string> {
  for (;;) {
    const rest = window.rest()
    const isEmpty = rest.toString('latin1', 0, 2) === '\r\n'
    const end = isEmpty ? 0 : rest.subarray(0, maxHeadBytes + 4).indexOf('\r\n\r\n')
    if (end !== -1) {
      // Of the blank line, the second line break.
      window.skip(isEmpty ? 2 : end + 4)
      return rest.toString('utf8', 0, end)
    }
    if (rest.length > maxHeadBytes) throw malformed(`the headers of a part exceed ${maxHeadBytes} bytes`)
    if (!(await window.more())) throw endsEarly()
  }
}

function endsEarly(): Error {
  return malformed('it ends before its last boundary')
}

function malformed(problem: string): Error {
  return gatewayError('MALFORMED_BODY', { problem })
}
