import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { JsonObject } from '@bufbuild/protobuf'

const require = createRequire(import.meta.url)

/**
 * Reads one of the catalog's YAML files, anchors and merges resolved. Throws an Error where it is no YAML, or no mapping. The library for
 * YAML is loaded with the first file, because most servers read none.
 */
export function readCatalogFile(path: string): JsonObject {
  const { parse }: typeof import('yaml') = require('yaml')
  const document: unknown = parse(readFileSync(path, 'utf8'), { merge: true })
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    throw new Error('must be a mapping with vendor and models')
  return document as JsonObject
}

/** The YAML files of a directory, in the order of their names. */
export function catalogFilesIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith('.yaml'))
    .sort()
    .map((file) => join(directory, file))
}

/** Where the built-in files are. The server reads what `npm run generate` makes of them. */
export const builtInDirectory = join(import.meta.dirname, 'catalog')
