import { describe, expect, test } from 'vitest'
import { multipartBody } from '../../src/providers/multipart-body.ts'
import { collect } from '../support/chunks.ts'
import { plainImage } from '../support/input-images.ts'

describe('a multipart body', () => {
  test('is written as browsers write it, and is as long as it says', async () => {
    const image = await plainImage('red')
    const body = multipartBody([
      { name: 'prompt', value: 'a fox\r\n--' },
      { name: 'image[]', file: image, fileName: 'image-1.png' },
      { name: 'n', value: '2' }
    ])
    const boundary = /^multipart\/form-data; boundary=(atelier-[0-9a-f]{32})$/.exec(body.contentType)?.[1] ?? ''
    const sent = await collect(body.bytes)
    const text = sent.toString('latin1').replaceAll(boundary, 'BOUNDARY')
    expect(text.replace(image.bytes.toString('latin1'), 'FILE')).toBe(
      '--BOUNDARY\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na fox\r\n--\r\n' +
        '--BOUNDARY\r\ncontent-disposition: form-data; name="image[]"; filename="image-1.png"\r\ncontent-type: image/png\r\n\r\nFILE\r\n' +
        '--BOUNDARY\r\ncontent-disposition: form-data; name="n"\r\n\r\n2\r\n--BOUNDARY--\r\n'
    )
    expect(sent.length).toBe(body.sizeBytes)
    expect(image.reading).toBe(0)
  })

  test('has a boundary of its own each time', () => {
    expect(multipartBody([]).contentType).not.toBe(multipartBody([]).contentType)
  })

  test('keeps names inside their quotes', async () => {
    const body = multipartBody([{ name: 'a"\r\nx: y', value: '1' }])
    expect((await collect(body.bytes)).toString()).toContain('name="a%22%0D%0Ax: y"\r\n\r\n1\r\n')
  })

  test('counts bytes, not characters', async () => {
    const body = multipartBody([{ name: 'prompt', value: 'ein Füchslein 🦊' }])
    expect((await collect(body.bytes)).length).toBe(body.sizeBytes)
  })

  test('opens a file when its turn comes, and lets go of it when it is left', async () => {
    const first = await plainImage('red')
    const second = await plainImage('blue')
    const body = multipartBody([
      { name: 'image[]', file: first, fileName: '1.png' },
      { name: 'image[]', file: second, fileName: '2.png' }
    ])
    expect([first.opened, second.opened]).toEqual([0, 0])
    for await (const chunk of body.bytes) if (Buffer.from(chunk).includes('PNG')) break
    expect([first.opened, first.reading, second.opened]).toEqual([1, 0, 0])
  })
})
