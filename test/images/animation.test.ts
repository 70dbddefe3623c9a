import sharp from 'sharp'
import { expect, test } from 'vitest'
import { isAnimated } from '../../src/images/animation.ts'
import { halves, insertPngChunk } from '../support/pictures.ts'

const png = await halves(20, 10, 'png')
const frames = [png, await sharp(png).flop().png().toBuffer()]

test.each([
  ['a still PNG', png, false],
  ['a still JPEG', await halves(20, 10, 'jpeg'), false],
  ['a still WebP', await halves(20, 10, 'webp'), false],
  ['a WebP with transparency', await sharp(png).ensureAlpha(0.5).webp().toBuffer(), false],
  ['a PNG with an animation chunk', insertPngChunk(png, 'acTL', Buffer.alloc(8)), true],
  [
    'an animated WebP',
    await sharp(frames, { join: { animated: true } })
      .webp()
      .toBuffer(),
    true
  ],
  [
    'an animated GIF',
    await sharp(frames, { join: { animated: true } })
      .gif()
      .toBuffer(),
    true
  ]
])('tells of %s', (_, bytes, expected) => {
  expect(isAnimated(bytes)).toBe(expected)
})

test('wants more of a PNG until it sees the animation chunk or the image data', () => {
  const animated = insertPngChunk(insertPngChunk(png, 'acTL', Buffer.alloc(8)), 'caBX', Buffer.alloc(1000))
  expect([20, 100, 1000].map((length) => isAnimated(animated.subarray(0, length)))).toEqual([undefined, undefined, undefined])
  expect(isAnimated(animated.subarray(0, 1100))).toBe(true)
})
