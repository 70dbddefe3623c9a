import { expect, test, vi } from 'vitest'
import { createSketcher } from '../../src/images/sketch/sketcher.ts'

const drawing = vi.hoisted(() => ({ now: 0, most: 0, all: 0 }))

vi.mock('@resvg/resvg-js', async (importOriginal) => {
  const original = await importOriginal<typeof import('@resvg/resvg-js')>()
  const renderAsync: typeof original.renderAsync = async (...parameters) => {
    drawing.all++
    drawing.most = Math.max(drawing.most, ++drawing.now)
    try {
      return await original.renderAsync(...parameters)
    } finally {
      drawing.now--
    }
  }
  return { ...original, renderAsync }
})

test('draws a burst of sketches two at a time', async () => {
  const sketcher = createSketcher({ maxConcurrent: 2 })
  const sketch = { prompt: 'a cat', width: 256, height: 256, mood: 'plain', transparent: false, format: 'png', quality: 100 } as const
  const files = await Promise.all(Array.from({ length: 20 }, (_, seed) => sketcher.draw({ ...sketch, seed }, new AbortController().signal)))
  expect(new Set(files.map((file) => Buffer.from(file).toString('latin1'))).size).toBe(20)
  expect(drawing).toEqual({ now: 0, most: 2, all: 20 })
})
