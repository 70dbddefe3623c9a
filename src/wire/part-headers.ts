import { gatewayError } from '../errors.ts'

/** What the headers of a part of a form say. */
export interface PartHeaders {
  /** The field's name, as in `image[]`. */
  name: string
  /** Set for files; empty where a browser's form has none chosen. */
  filename: string | undefined
  /** As the sender states it, in lower case and without parameters; empty where it does not. */
  contentType: string
}

/** Reads the headers of one part. Throws MALFORMED_BODY where they do not name a field, or say that its content is coded or nested. */
export function parsePartHeaders(head: string): PartHeaders {
  const headers = new Map<string, string>()
  for (const line of head.split('\r\n').filter((line) => line !== '')) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).trim().toLowerCase()
    if (colon < 1 || !/^[\w-]+$/.test(name)) throw malformed('a part has a malformed header')
    if (headers.has(name)) throw malformed(`a part has two ${name.slice(0, 60)} headers`)
    headers.set(name, line.slice(colon + 1).trim())
  }
  const { name, filename } = parseDisposition(headers.get('content-disposition') ?? '')
  const contentType = headers.get('content-type')?.split(';', 1).join().trim().toLowerCase() ?? ''
  if (contentType.startsWith('multipart/')) throw malformed(`the part ${quote(name)} is itself of several parts`)
  const encoding = headers.get('content-transfer-encoding')?.toLowerCase() ?? 'binary'
  if (!['binary', '7bit', '8bit'].includes(encoding)) {
    throw malformed(`the part ${quote(name)} has a content-transfer-encoding: send its bytes as they are`)
  }
  return { name, filename, contentType }
}

function parseDisposition(text: string): { name: string; filename: string | undefined } {
  if (!/^form-data[ \t]*(;|$)/i.test(text)) throw malformed('a part has no content-disposition of form-data')
  const parameters = new Map<string, string>()
  for (const [, key = '', quoted, bare] of text.matchAll(/;[ \t]*([\w*-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/g)) {
    const value = quoted === undefined ? bare : unescapeQuoted(quoted)
    if (!parameters.has(key.toLowerCase())) parameters.set(key.toLowerCase(), value ?? '')
  }
  const name = parameters.get('name') ?? ''
  if (name === '' || name.length > 256) throw malformed('a part has no name of 1 to 256 characters')
  return { name, filename: parameters.get('filename') ?? parameters.get('filename*') }
}

/** Browsers percent-encode quotes and line breaks; curl and others put a backslash before quotes. */
function unescapeQuoted(text: string): string {
  return text
    .replace(/\\(["\\])/g, '$1')
    .replaceAll('%22', '"')
    .replaceAll('%0D%0A', '\r\n')
}

function quote(name: string): string {
  return JSON.stringify(name.slice(0, 60))
}

function malformed(problem: string): Error {
  return gatewayError('MALFORMED_BODY', { problem })
}
