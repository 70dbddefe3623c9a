import { createRequire } from 'node:module'
import type { Client, Pool } from 'undici'

const require = createRequire(import.meta.url)

/** The connections of a provider, without the rest of undici: fetch, caches and WebSockets would take 80 ms of the start and 8 MB. */
export function loadPool(): typeof Pool {
  return require('undici/lib/dispatcher/pool.js')
}

/** A single connection with `request`, which comes with all of undici: loaded with the first URL that is fetched. */
export function loadClient(): typeof Client {
  return require('undici').Client
}
