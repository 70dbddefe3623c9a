import { createCipheriv, createHash } from 'node:crypto'

/** What the fake upstream answers, and what must therefore come out of every target. Both processes make it from the same arithmetic. */
export interface Answer {
  images: number
  /** Characters of base64 in each image; 0 for an image that is only linked to. */
  base64Length: number
}

export const answers = {
  url: { images: 1, base64Length: 0 },
  thumbnail: { images: 1, base64Length: 20_000 },
  image: { images: 1, base64Length: 2_200_000 },
  fourImages: { images: 4, base64Length: 2_200_000 }
} as const satisfies Record<string, Answer>

/** One JSON document in OpenAI's shape; the one with a link is 256 bytes long. */
export function renderAnswer({ images, base64Length }: Answer): Buffer {
  if (base64Length === 0) {
    const [before, after] = [
      '{"created":1795202431,"data":[{"url":"https://images.example.com/',
      '.png","revised_prompt":"a cat on a mat"}]}'
    ]
    return Buffer.from(before.concat('x'.repeat(256 - before.length - after.length), after))
  }
  const image = imageBase64(base64Length)
  return Buffer.from(JSON.stringify({ created: 1795202431, data: Array.from({ length: images }, () => ({ b64_json: image })) }))
}

/** Random bytes behind a PNG's signature, the same in every process, as base64. */
export function imageBase64(length: number): string {
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16)).update(Buffer.alloc((length / 4) * 3))
  return Buffer.concat([signature, noise]).toString('base64').slice(0, length)
}

export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
