import { expect, test } from 'vitest'
import type { GenerationEvent } from '../../src/events.ts'
import { imageFromBase64 } from '../../src/images/image-body.ts'
import { chunkSource } from '../support/chunks.ts'
import { startRestServer } from '../support/rest-server.ts'

const chunkBytes = 256 * 1024

test.each([
  ['frees the chunks of an image that gives them away, when they are sent', true, [0, 0]],
  ['leaves the chunks of any other image as they are', false, [chunkBytes, chunkBytes]]
])('%s', async (_, givesChunksAway, lengths) => {
  const chunks = ['A', 'B'].map((letter) => new Uint8Array(chunkBytes).fill(letter.charCodeAt(0)))
  const server = await startRestServer({ generateImages: () => events(chunks, givesChunksAway) })
  const { body } = await server.send('POST', '/v1/images/generations', { model: 'dall-e-2', prompt: 'a cat', response_format: 'b64_json' })
  expect(body.data[0].b64_json === 'A'.repeat(chunkBytes) + 'B'.repeat(chunkBytes)).toBe(true)
  expect(chunks.map(({ length }) => length)).toEqual(lengths)
})

async function* events(chunks: Uint8Array[], givesChunksAway: boolean): AsyncGenerator<GenerationEvent> {
  yield { kind: 'accepted', taskId: '', createdAt: 1, isReplay: false, provider: 'openai', model: 'dall-e-2', warnings: [] }
  yield { kind: 'image', index: 0, image: imageFromBase64(chunkSource(chunks), 'image/png', { givesChunksAway }) }
  yield { kind: 'completed' }
}
