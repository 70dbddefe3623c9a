import { describe, expect, test } from 'vitest'
import { hasContentCredentials } from '../../src/images/content-credentials.ts'
import { halves, noise, withContentCredentials, withSegments } from '../support/pictures.ts'

describe.each(['png', 'jpeg', 'webp'] as const)('in a %s', (format) => {
  test.each([100, 2001, 150_000])('finds a manifest of %i bytes', async (sizeBytes) => {
    expect(await examine(withContentCredentials(await halves(20, 10, format), format, sizeBytes), format)).toBe(true)
  })

  test('finds none where there is none', async () => {
    expect(await examine(await noise(300, 300).toFormat(format).toBuffer(), format)).toBe(false)
  })

  test('takes every beginning of a file for what it is', async () => {
    const file = await halves(20, 10, format)
    for (let length = 0; length < file.length; length++) expect(await examine(file.subarray(0, length), format)).toBe(false)
  })
})

test('does not take other boxes in a JPEG for a manifest', async () => {
  const other = Buffer.from('\0\0\0\x20jumb\0\0\0\x18jumdxxxx\0\x11\0\x10\x80\0\0\xaa', 'latin1')
  expect(await examine(withSegments(await halves(20, 10, 'jpeg'), 0xeb, other), 'jpeg')).toBe(false)
})

test('gives up on a PNG that is nothing but empty chunks', async () => {
  const chunk = Buffer.from('\0\0\0\0teXt\0\0\0\0', 'latin1')
  const header = (await halves(20, 10, 'png')).subarray(0, 33)
  const chunks = Array.from({ length: 200_000 }, () => chunk)
  expect(await examine(withContentCredentials(Buffer.concat([header, ...chunks]), 'png'), 'png')).toBe(true)
  expect(await examine(Buffer.concat([header, ...chunks, Buffer.from('\0\0\0\0caBX', 'latin1')]), 'png')).toBe(false)
})

function examine(file: Buffer, format: 'png' | 'jpeg' | 'webp'): Promise<boolean> {
  return hasContentCredentials(`image/${format}`, async (position, length) => file.subarray(position, position + length))
}
