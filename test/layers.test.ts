import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { expect, test } from 'vitest'

const layers = [
  'errors',
  'contract',
  'log',
  'call',
  'images',
  'events',
  'upstream',
  'storage',
  'providers',
  'routing',
  'ledger',
  'delivery',
  'tasks',
  'admission',
  'services',
  'invoke',
  'wire',
  'config',
  'server',
  'cli',
  'main'
]

const source = resolve(import.meta.dirname, '../src')
const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))

test('every file in src belongs to a layer', () => {
  expect(files.filter((file) => !layers.includes(layerOf(file)))).toEqual([])
})

test('a file imports only from lower layers or its own folder', () => {
  const upward = files.flatMap((file) =>
    importsOf(file)
      .filter((target) => layers.indexOf(layerOf(target)) > layers.indexOf(layerOf(file)))
      .map((target) => `${file} imports ${target}`)
  )
  expect(upward).toEqual([])
})

test('no adapter imports another adapter', () => {
  const sideways = files
    .filter((file) => file.startsWith('providers/') && /\bcreate\w+Provider\b/.test(readFileSync(join(source, file), 'utf8')))
    .flatMap((file, _, adapters) =>
      importsOf(file)
        .filter((target) => adapters.includes(target))
        .map((target) => `${file} imports ${target}`)
    )
  expect(sideways).toEqual([])
})

test('only the untrusted-url module resolves host names, and nothing uses the global fetch', () => {
  const offenders = files.filter((file) => {
    const text = readFileSync(join(source, file), 'utf8')
    return /(?<![\w.])fetch\(/.test(text) || (/from 'node:dns/.test(text) && file !== 'upstream/untrusted-url.ts')
  })
  expect(offenders).toEqual([])
})

test('only config.ts reads the environment', () => {
  const readers = files.filter((file) => readFileSync(join(source, file), 'utf8').includes('process.env'))
  expect(readers.filter((file) => file !== 'config.ts' && file !== 'main.ts')).toEqual([])
})

function layerOf(file: string): string {
  return file.split('/')[0]?.replace(/\.ts$/, '') ?? ''
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(source, file), 'utf8')
  return [...text.matchAll(/from '(\.[^']+)'|import\('(\.[^']+)'\)|new URL\('(\.[^']+\.ts)'/g)]
    .map((match) => relative(source, resolve(source, dirname(file), match[1] ?? match[2] ?? match[3] ?? '')))
    .filter((target) => !target.startsWith('..'))
}
