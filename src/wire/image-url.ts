import { gatewayError } from '../errors.ts'
import { decodeBase64 } from '../images/base64.ts'
import type { InputSource } from '../services/take-inputs.ts'
import type { TakeUpload } from './edit-body.ts'

/**
 * Reads a URL as it arrives. The image in a data URL goes to `take`, decoded on the way; any other URL is only kept. Throws
 * INVALID_PARAMETER for a data URL that is not in base64, and for another URL of more than 8 KiB.
 */
export async function readImageUrl(characters: AsyncIterable<Uint8Array>, param: string, take: TakeUpload): Promise<InputSource> {
  const chunks = characters[Symbol.asyncIterator]()
  let head: Buffer = Buffer.alloc(0)
  const grow = async (): Promise<boolean> => {
    const { done, value } = await chunks.next()
    if (!done) head = Buffer.concat([head, value])
    return !done
  }
  while (head.length < scheme.length && (await grow()));
  if (head.toString('latin1', 0, scheme.length).toLowerCase() !== scheme) {
    while (head.length <= maxUrlBytes && (await grow()));
    if (head.length > maxUrlBytes) throw refused(param, `must be no longer than ${maxUrlBytes} bytes`)
    if (head.length === 0) throw refused(param, 'is empty')
    return { param, kind: 'url', url: head.toString('utf8') }
  }
  while (!head.subarray(0, maxUrlBytes).includes(comma)) {
    if (head.length >= maxUrlBytes || !(await grow())) throw refused(param, 'must be a data URL with a comma before its data')
  }
  const start = head.indexOf(comma)
  if (!/;base64$/i.test(head.toString('latin1', 0, start))) throw refused(param, 'must be a data URL in base64')
  const data = async function* () {
    if (start + 1 < head.length) yield head.subarray(start + 1)
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value
  }
  try {
    return { param, kind: 'upload', upload: await take(decodeBase64(data()), param) }
  } catch (error) {
    if (error instanceof SyntaxError) throw refused(param, error.message, error)
    throw error
  }
}

const scheme = 'data:'
const comma = 0x2c
const maxUrlBytes = 8192

function refused(param: string, problem: string, cause?: unknown): Error {
  return gatewayError('INVALID_PARAMETER', { param, problem }, { cause })
}
