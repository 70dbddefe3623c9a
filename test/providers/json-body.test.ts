import { describe, expect, test } from 'vitest'
import { jsonBody } from '../../src/providers/json-body.ts'
import { collect } from '../support/chunks.ts'
import { inputImage, plainImage } from '../support/input-images.ts'

describe('a JSON body with images', () => {
  test.each([0, 1, 2])('is what JSON.stringify makes of their base64, and as long as it says: %d bytes more', async (more) => {
    const { bytes } = await plainImage('red')
    const image = await inputImage(Buffer.concat([bytes, Buffer.alloc(more)]), 'image/png')
    const other = await plainImage('blue', 'jpeg', 300, 200)
    const body = jsonBody((place) => ({ first: place(image), text: 'é "\n', list: [{ again: place(other) }, place(image)] }))
    const base64 = image.bytes.toString('base64')
    const expected = JSON.stringify({ first: base64, text: 'é "\n', list: [{ again: other.bytes.toString('base64') }, base64] })
    const sent = await collect(body.bytes)
    expect(sent.toString() === expected).toBe(true)
    expect(sent.length).toBe(body.sizeBytes)
  })

  test('puts each image where its place is, in whatever order they were asked for', async () => {
    const red = await plainImage('red')
    const blue = await plainImage('blue')
    const body = jsonBody((place) => {
      const [later, sooner] = [place(blue), place(red)]
      return { sooner, later }
    })
    expect(JSON.parse((await collect(body.bytes)).toString())).toEqual({
      sooner: red.bytes.toString('base64'),
      later: blue.bytes.toString('base64')
    })
  })

  test('without images is JSON', async () => {
    const body = jsonBody(() => ({ a: 1 }))
    expect((await collect(body.bytes)).toString()).toBe('{"a":1}')
  })
})
