import { expect, test } from 'vitest'
import type { Blob } from '../../src/storage/blob-store.ts'
import type { DerivedKeys } from '../../src/storage/derived-keys.ts'
import { createLinks } from '../../src/storage/links.ts'
import { testKey } from '../support/task-stores.ts'

const keys = [testKey(7)] as const
const links = createLinks({ publicUrl: 'https://images.example.com', keys, lifetimeSeconds: 3600 })
const nowMs = 1_750_000_000_000
const blob: Blob = { id: 'abcdefghijklmnopqrstuv', mediaType: 'image/png', sizeBytes: 10, expiresAt: 1_750_086_400, isPublic: false }

test('signs a link that ends in the file extension and leads to the blob until it expires', () => {
  const url = links.sign(blob, { nowMs })
  expect(url).toMatch(/^https:\/\/images\.example\.com\/images\/abcdefghijklmnopqrstuv\/1750003600-[A-Za-z0-9_-]{24}\.png$/)
  const { pathname } = new URL(url)
  const link = { blobId: blob.id, isSigned: true, extension: 'png', expiresAt: 1_750_003_600 }
  expect(links.verify(pathname, nowMs)).toEqual(link)
  expect(links.verify(pathname, nowMs + 3_599_999)).toEqual(link)
  expect(links.verify(pathname, nowMs + 3_600_000)).toBeUndefined()
})

test('signs no link that works longer than the blob is kept', () => {
  expect(links.sign({ ...blob, expiresAt: 1_750_000_060 }, { nowMs })).toContain('/1750000060-')
})

test.each([
  ['longer than the configured one', { lifetimeSeconds: 7200 }, blob.expiresAt, 1_750_007_200],
  ['longer than the blob is kept', { lifetimeSeconds: 604_800 }, blob.expiresAt, blob.expiresAt],
  ['as long as the blob is kept', { lifetimeSeconds: Number.POSITIVE_INFINITY }, blob.expiresAt, blob.expiresAt],
  ['that nobody named, for a blob without end', {}, Number.POSITIVE_INFINITY, 1_750_003_600],
  ['of a week, for a blob without end', { lifetimeSeconds: 604_800 }, Number.POSITIVE_INFINITY, 1_750_604_800],
  ['without end, for a blob without end', { lifetimeSeconds: Number.POSITIVE_INFINITY }, Number.POSITIVE_INFINITY, 253_402_300_799],
  ['that nobody named, for a blob that ends within a second', {}, 1_750_000_060.5, 1_750_000_060]
])('signs a link with a lifetime %s', (_, options, expiresAt, linkEnd) => {
  const { pathname } = new URL(links.sign({ ...blob, expiresAt }, { nowMs, ...options }))
  expect(links.verify(pathname, linkEnd * 1000 - 1)).toEqual({ blobId: blob.id, isSigned: true, extension: 'png', expiresAt: linkEnd })
  expect(links.verify(pathname, linkEnd * 1000)).toBeUndefined()
})

test('gives a public blob a link without signature and end', () => {
  const url = links.permanent({ ...blob, isPublic: true })
  expect(url).toBe('https://images.example.com/images/abcdefghijklmnopqrstuv.png')
  const link = { blobId: blob.id, isSigned: false, extension: 'png', expiresAt: Number.POSITIVE_INFINITY }
  expect(links.verify(new URL(url).pathname, nowMs)).toEqual(link)
})

test('gives no other blob a permanent link', () => {
  expect(() => links.permanent(blob)).toThrow('an image that is not public has no permanent link')
})

test('puts links below the path of the public URL and verifies what is below it', () => {
  const prefixed = createLinks({ publicUrl: 'https://example.com/images-api/', keys, lifetimeSeconds: 60 })
  const url = prefixed.sign(blob, { nowMs })
  expect(url).toMatch(/^https:\/\/example\.com\/images-api\/images\/abc/)
  expect(prefixed.verify(new URL(url).pathname.slice('/images-api'.length), nowMs)?.blobId).toBe(blob.id)
  expect(prefixed.permanent({ ...blob, isPublic: true })).toBe('https://example.com/images-api/images/abcdefghijklmnopqrstuv.png')
})

test('refuses a link in which any character was altered, added or left out', () => {
  const { pathname } = new URL(links.sign(blob, { nowMs }))
  const altered = Array.from(pathname).flatMap((character, index) => {
    const before = pathname.slice(0, index)
    const after = pathname.slice(index + 1)
    return Array.from('09azAZ-_./%', (other) => (other === character ? '' : other)).map((other) => `${before}${other}${after}`)
  })
  const added = Array.from('0aA-_./ ', (character) => [`${pathname}${character}`, `${character}${pathname}`]).flat()
  const accepted = [...altered, ...added].filter((path) => links.verify(path, nowMs)?.isSigned)
  expect(altered.length).toBeGreaterThan(600)
  expect(accepted).toEqual([])
})

test.each([
  '',
  '/',
  '/images/',
  '/images/../../etc/passwd',
  '/images/abcdefghijklmnopqrstuv/NaN-x.png',
  '/images/abcdefghijklmnopqrstuv',
  '/images/abcdefghijklmnopqrstuv.',
  '/images/abcdefghijklmnopqrst.png',
  '/images/abcdefghijklmnopqrstu/.png',
  '/images/abcdefghijklmnopqrstuv.png/',
  '/images/abcdefghijklmnopqrstuv.p\u0000g',
  '/images/ｂbcdefghijklmnopqrstuv.png',
  `/images/${'a'.repeat(100_000)}`
])('finds no link in a path such as %.40j', (path) => {
  expect(links.verify(path, nowMs)).toBeUndefined()
})

test('refuses a link that was signed with another key', () => {
  const other = createLinks({ publicUrl: 'https://images.example.com', keys: [testKey(8)], lifetimeSeconds: 3600 })
  expect(links.verify(new URL(other.sign(blob, { nowMs })).pathname, nowMs)).toBeUndefined()
})

test('a link that an earlier key signed works until it expires, and new ones are signed with the current key', () => {
  const options = { publicUrl: 'https://images.example.com', lifetimeSeconds: 3600 }
  const after = createLinks({ ...options, keys: [testKey(9), testKey(8), testKey(7)] })
  const { pathname } = new URL(links.sign(blob, { nowMs }))
  expect(after.verify(pathname, nowMs + 3_599_999)?.blobId).toBe(blob.id)
  expect(after.verify(pathname, nowMs + 3_600_000)).toBeUndefined()
  expect(after.sign(blob, { nowMs })).toBe(createLinks({ ...options, keys: [testKey(9)] }).sign(blob, { nowMs }))
})

test('follows keys that change', () => {
  let current: DerivedKeys = keys
  const following = createLinks({ publicUrl: 'https://images.example.com', keys: () => current, lifetimeSeconds: 3600 })
  const before = following.sign(blob, { nowMs })
  current = [testKey(8), testKey(7)]
  const after = following.sign(blob, { nowMs })
  expect(before).toBe(links.sign(blob, { nowMs }))
  expect(after).not.toBe(before)
  expect([before, after].map((url) => following.verify(new URL(url).pathname, nowMs)?.blobId)).toEqual([blob.id, blob.id])
})

test.each([
  [{ publicUrl: 'images.example.com', keys, lifetimeSeconds: 60 }, 'the public URL must begin with http:// or https://'],
  [
    { publicUrl: 'https://example.com/?a=b', keys, lifetimeSeconds: 60 },
    'the public URL must begin with http:// or https:// and have no query'
  ],
  [{ publicUrl: 'https://example.com', keys, lifetimeSeconds: 0 }, 'the lifetime of links must be a positive whole number of seconds']
])('refuses options that make no links', (options, message) => {
  expect(() => createLinks(options)).toThrow(message)
})
