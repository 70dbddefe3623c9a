import { expect, test } from 'vitest'
import type { Blob } from '../../src/storage/blob-store.ts'
import { createLinks } from '../../src/storage/links.ts'

const signingKey = new Uint8Array(32).fill(7)
const links = createLinks({ publicUrl: 'https://images.example.com', signingKey, lifetimeSeconds: 3600 })
const nowMs = 1_750_000_000_000
const blob: Blob = { id: 'abcdefghijklmnopqrstuv', mediaType: 'image/png', sizeBytes: 10, expiresAt: 1_750_086_400 }

test('signs a link that ends in the file extension and leads to the blob until it expires', () => {
  const url = links.sign(blob, nowMs)
  expect(url).toMatch(/^https:\/\/images\.example\.com\/images\/abcdefghijklmnopqrstuv\/1750003600-[A-Za-z0-9_-]{24}\.png$/)
  const { pathname } = new URL(url)
  expect(links.verify(pathname, nowMs)).toEqual({ blobId: blob.id })
  expect(links.verify(pathname, nowMs + 3_599_999)).toEqual({ blobId: blob.id })
  expect(links.verify(pathname, nowMs + 3_600_000)).toBeUndefined()
})

test('signs no link that works longer than the blob is kept', () => {
  expect(links.sign({ ...blob, expiresAt: 1_750_000_060 }, nowMs)).toContain('/1750000060-')
})

test('puts links below the path of the public URL and verifies what is below it', () => {
  const prefixed = createLinks({ publicUrl: 'https://example.com/images-api/', signingKey, lifetimeSeconds: 60 })
  const url = prefixed.sign(blob, nowMs)
  expect(url).toMatch(/^https:\/\/example\.com\/images-api\/images\/abc/)
  expect(prefixed.verify(new URL(url).pathname.slice('/images-api'.length), nowMs)).toEqual({ blobId: blob.id })
})

test('refuses a link in which any character was altered, added or left out', () => {
  const { pathname } = new URL(links.sign(blob, nowMs))
  const altered = Array.from(pathname).flatMap((character, index) => {
    const before = pathname.slice(0, index)
    const after = pathname.slice(index + 1)
    return Array.from('09azAZ-_./%', (other) => (other === character ? '' : other)).map((other) => `${before}${other}${after}`)
  })
  const added = Array.from('0aA-_./ ', (character) => [`${pathname}${character}`, `${character}${pathname}`]).flat()
  const accepted = [...altered, ...added].filter((path) => links.verify(path, nowMs) !== undefined)
  expect(altered.length).toBeGreaterThan(600)
  expect(accepted).toEqual([])
})

test.each(['', '/', '/images/', '/images/../../etc/passwd', '/images/abcdefghijklmnopqrstuv/NaN-x.png', `/images/${'a'.repeat(100_000)}`])(
  'finds no link in a path such as %.40j',
  (path) => {
    expect(links.verify(path, nowMs)).toBeUndefined()
  }
)

test('refuses a link that was signed with another key', () => {
  const other = createLinks({ publicUrl: 'https://images.example.com', signingKey: new Uint8Array(32).fill(8), lifetimeSeconds: 3600 })
  expect(links.verify(new URL(other.sign(blob, nowMs)).pathname, nowMs)).toBeUndefined()
})

test.each([
  [{ publicUrl: 'images.example.com', signingKey, lifetimeSeconds: 60 }, 'the public URL must begin with http:// or https://'],
  [
    { publicUrl: 'https://example.com/?a=b', signingKey, lifetimeSeconds: 60 },
    'the public URL must begin with http:// or https:// and have no query'
  ],
  [
    { publicUrl: 'https://example.com', signingKey: new Uint8Array(16), lifetimeSeconds: 60 },
    'the signing key of links must have at least 32 bytes'
  ],
  [{ publicUrl: 'https://example.com', signingKey, lifetimeSeconds: 0 }, 'the lifetime of links must be a positive whole number of seconds']
])('refuses options that make no links', (options, message) => {
  expect(() => createLinks(options)).toThrow(message)
})
