import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'

/** A secret that is recognised wherever it turns up; in the shape of no vendor's, so that nothing blanks it by its looks. */
export function canary(kind: string): string {
  return `canary-${kind}-${randomBytes(12).toString('hex')}`
}

/** Something that was written somewhere: where, and what. */
export interface Written {
  where: string
  bytes: Buffer
}

/** As in "the prompt is in atelier.db-wal in base64": every place where one of the canaries is, in clear, base64, hex or as a part of a URL. */
export function findCanaries(canaries: Readonly<Record<string, string>>, written: readonly Written[]): string[] {
  const forms = Object.entries(canaries).flatMap(([name, text]) => formsOf(text).map(([form, bytes]) => ({ name, form, bytes })))
  return written.flatMap(({ where, bytes }) => {
    const found = forms.filter((form) => bytes.includes(form.bytes)).map(({ name, form }) => `${name} is in ${where} ${form}`)
    return [...new Set(found)]
  })
}

function formsOf(text: string): [form: string, bytes: Buffer][] {
  const bytes = Buffer.from(text)
  // Whatever stands before and after it moves the groups of three bytes; what of it fills whole groups stays recognisable.
  const groups = [0, 1, 2].map((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
    return encoded.slice(offset === 0 ? 0 : 4, -4)
  })
  const hex = bytes.toString('hex')
  const json = JSON.stringify(text).slice(1, -1)
  return [
    ['in clear', bytes],
    ['as UTF-16', Buffer.from(text, 'utf16le')],
    ['backwards', Buffer.from(bytes).reverse()],
    ['as JSON', Buffer.from(json)],
    ['in a URL', Buffer.from(encodeURIComponent(text))],
    ['in hex', Buffer.from(hex)],
    ['in hex', Buffer.from(hex.toUpperCase())],
    ...groups.flatMap((group): [string, Buffer][] => [
      ['in base64', Buffer.from(group)],
      ['in base64', Buffer.from(group.replaceAll('+', '-').replaceAll('/', '_'))]
    ])
  ]
}

/** Every file below a directory, with its name. */
export async function readEveryFile(directory: string): Promise<Written[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const contents = await Promise.all(
    // A file on its way may be gone by now.
    files.map(async (path) => ({ where: path.slice(directory.length + 1), bytes: await readFile(path).catch(() => Buffer.alloc(0)) }))
  )
  return [...contents, { where: 'names of files', bytes: Buffer.from(files.join('\n')) }]
}

/** Every row of every table, as text; bytes in hex. */
export async function readEveryRow(databaseUrl: string): Promise<Written[]> {
  await using parts = new AsyncDisposableStack()
  const client = new Client({ connectionString: databaseUrl })
  await client.connect()
  parts.defer(() => client.end())
  const { rows: tables } = await client.query<{ name: string }>(
    "select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public'"
  )
  const written: Written[] = []
  for (const { name } of tables) {
    const { rows } = await client.query<{ line: string }>(`select each::text as line from ${name} as each`)
    written.push({ where: `the table ${name}`, bytes: Buffer.from(rows.map(({ line }) => line).join('\n')) })
  }
  return written
}
