import type { JsonObject } from '@bufbuild/protobuf'
import type { StoredImage } from '../images/image-body.ts'
import { randomBase62 } from '../storage/random-id.ts'
import type { StreamedBody } from '../upstream/client.ts'

/**
 * A JSON body with images in it as base64, each read when its turn comes. `write` puts the string that it gets for an image where the
 * image belongs; a string that it got for none stays where it is.
 */
export function jsonBody(write: (place: (image: StoredImage) => string) => JsonObject): StreamedBody {
  const mark = randomBase62(22)
  const images: StoredImage[] = []
  const text = JSON.stringify(write((image) => `${mark}-${images.push(image) - 1}-`))
  // With the group, every second piece is the number of an image.
  const pieces = text.split(new RegExp(`${mark}-(\\d+)-`)).map((piece, at) => (at % 2 === 0 ? Buffer.from(piece) : images[Number(piece)]))
  const present = pieces.filter((piece) => piece !== undefined)
  return {
    bytes: chunksOf(present),
    sizeBytes: present.reduce((sum, piece) => sum + ('sizeBytes' in piece ? base64Length(piece.sizeBytes) : piece.length), 0)
  }
}

function base64Length(sizeBytes: number): number {
  return Math.ceil(sizeBytes / 3) * 4
}

async function* chunksOf(pieces: readonly (Buffer | StoredImage)[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const piece of pieces) {
    if ('sizeBytes' in piece) yield* piece.open().read('base64')
    else yield piece
  }
}
