import sharp from 'sharp'
import { InputFidelity } from '../../gen/atelier/v1/image_pb.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import type { EditInputs, InputImage } from '../../src/providers/provider.ts'

export interface TrackedImage extends InputImage {
  readonly bytes: Buffer
  /** How often it was opened, and how many of those are still being read. */
  readonly opened: number
  readonly reading: number
}

/** A file that is kept in memory and tells who reads it; it is read in pieces of 64 KiB. */
export async function inputImage(bytes: Buffer, mediaType: string): Promise<TrackedImage> {
  const { width, height } = await sharp(bytes).metadata()
  const image = { bytes, mediaType, sizeBytes: bytes.length, width, height, opened: 0, reading: 0, open }

  function open() {
    image.opened++
    return imageFromBytes(pieces(), mediaType)
  }

  async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    image.reading++
    try {
      for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
    } finally {
      image.reading--
    }
  }

  return image
}

/** A picture in one colour. */
export async function plainImage(colour: string, format: 'png' | 'jpeg' | 'webp' = 'png', width = 64, height = 64): Promise<TrackedImage> {
  const picture = sharp({ create: { width, height, channels: 3, background: colour } })
  return inputImage(await picture.toFormat(format).toBuffer(), `image/${format}`)
}

/** Noise, about 3 bytes for each pixel. */
export async function noisyImage(edge: number): Promise<TrackedImage> {
  const noise = { type: 'gaussian', mean: 128, sigma: 60 } as const
  const picture = sharp({ create: { width: edge, height: edge, channels: 3, background: 'black', noise } })
  return inputImage(await picture.png({ compressionLevel: 0 }).toBuffer(), 'image/png')
}

/** A PNG whose left half is transparent, to be painted over. */
export async function leftHalfMask(width = 64, height = 64): Promise<TrackedImage> {
  const right = { create: { width: width / 2, height, channels: 4 as const, background: '#000000ff' } }
  const picture = sharp({ create: { width, height, channels: 4, background: '#00000000' } })
  return inputImage(
    await picture
      .composite([{ input: right, left: width / 2, top: 0 }])
      .png()
      .toBuffer(),
    'image/png'
  )
}

export function editOf(images: readonly InputImage[], options: Partial<EditInputs> = {}): EditInputs {
  return { images, inputFidelity: InputFidelity.UNSPECIFIED, ...options }
}
