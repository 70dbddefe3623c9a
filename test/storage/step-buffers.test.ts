import { expect, test } from 'vitest'
import { createStepBuffers, scarceStepBytes, stepBytes } from '../../src/storage/blobs/step-buffers.ts'

test('gives large buffers to few files and small ones to many, until enough have come back', () => {
  const buffers = createStepBuffers()
  const taken = Array.from({ length: 1_000 }, () => buffers.take())
  expect(taken[0]?.length).toBe(stepBytes)
  expect(taken.at(-1)?.length).toBe(scarceStepBytes)
  expect(buffers.isScarce).toBe(true)
  expect(taken.reduce((sum, { length }) => sum + length, 0)).toBeLessThan(100 * 1024 * 1024)

  for (const buffer of taken) buffers.giveBack(buffer)
  expect(buffers.isScarce).toBe(false)
  expect(buffers.take()).toBe(taken[31])
})
