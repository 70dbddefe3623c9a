import { createRequire } from 'node:module'
import type sharp from 'sharp'

const require = createRequire(import.meta.url)

/**
 * The sharp library, loaded with the first image that needs it: it takes 10 MB and some 40 ms, and most images pass through untouched.
 */
export function loadSharp(): typeof sharp {
  const loaded: typeof sharp = require('sharp')
  // Files are decoded once, and the cache would know them by their names and keep them open.
  loaded.cache(false)
  return loaded
}
