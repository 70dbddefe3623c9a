/** What is wrong with an address of PostgreSQL that the schema takes; undefined where nothing is. */
export function databaseUrlProblem(text: string): string | undefined {
  const url = parse(text)
  // A / in a password that is not percent-encoded begins the path, and an @ of it may then stand anywhere.
  if (url === null || url.hash !== '' || /@/.test(url.pathname + url.search) || !isDecodable(text)) return malformed
  return undefined
}

/** The address as its owner may see it: without passwords. */
export function maskDatabaseUrl(text: string): string {
  return text.replace(userPassword, '$1…$3').replace(queryPassword, '$1…')
}

/** Every way in which the passwords of the address may turn up in a text. */
export function databaseSecrets(text: string): string[] {
  const written = [userPassword.exec(text)?.[2], ...Array.from(text.matchAll(queryPassword), (match) => match[2])]
  const url = parse(text)
  const passwords = [...written, url?.password].filter((password) => password !== undefined).filter((password) => password !== '')
  // The whole address too: a password may be too short to be looked for alone.
  return [...new Set([...(passwords.length > 0 ? [text] : []), ...passwords.flatMap((password) => [password, decoded(password)])])]
}

const malformed =
  'must read postgres://user:password@host:port/database; special characters in the user name and the password must be percent-encoded'

const userPassword = /^([^:]+:\/\/[^:@/?#]*:)(.*)(@[^@]*)$/
const queryPassword = /([?&][^=&]*(?:password|secret|token)[^=&]*=)([^&]*)/gi

/** An empty host is libpq's word for a Unix socket, which the query names; URLs have none beside a user name. */
function parse(text: string): URL | null {
  return URL.parse(text) ?? URL.parse(text.replace('@/', '@socket/'))
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

function decoded(text: string): string {
  return isDecodable(text) ? decodeURIComponent(text) : text
}
