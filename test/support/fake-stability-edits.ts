import sharp from 'sharp'
import { checkInitSize, type Refusal, type V2Endpoint } from './fake-stability-rules.ts'

/** An image that was sent to be edited. */
export interface EditedImage {
  width: number
  height: number
  /** Puts a picture of the same size over it where the mask says so, everywhere without one. */
  paint(picture: Buffer, outputFormat: string): Promise<Buffer>
}

/** Reads image and mask; gives the refusal of what cannot be read, or lacks what says where to paint. */
export async function editedBy(
  files: Readonly<Record<string, Buffer>>,
  imageName: string,
  maskName: string,
  inverted: boolean
): Promise<EditedImage | Refusal> {
  const image = files[imageName]
  const mask = files[maskName]
  try {
    const { width, height } = await sharp(image).metadata()
    // White pixels of the mask are painted over, black ones kept, whatever their opacity.
    const grey = mask && (await sharp(mask).resize(width, height, { fit: 'fill' }).extractChannel(0).toColourspace('b-w').raw().toBuffer())
    return {
      width,
      height,
      async paint(picture, outputFormat) {
        const format = outputFormat as 'png' | 'jpeg' | 'webp'
        if (!grey) return picture
        const opacity = Buffer.from(inverted ? grey.map((value) => 255 - value) : grey)
        const raw = { width, height, channels: 1 } as const
        // The picture comes without opacity: this becomes its own.
        const patch = await sharp(picture).joinChannel(opacity, { raw }).png().toBuffer()
        return sharp(image)
          .composite([{ input: patch }])
          .removeAlpha()
          .toFormat(format)
          .toBuffer()
      }
    }
  } catch {
    return { status: 400, name: 'bad_request', message: `${imageName}: must be a valid image` }
  }
}

/** What the vendor has against the size of an image. */
export function checkSize(image: EditedImage | Refusal, endpoint: V2Endpoint | 'sdxl'): Refusal | undefined {
  if ('status' in image) return image
  const { width, height } = image
  if (endpoint === 'sdxl') return checkInitSize(width, height)
  const enough = Math.min(width, height) >= 64 && width * height <= 9_437_184
  return enough ? undefined : { status: 400, name: 'bad_request', message: 'image: must have from 64 pixels a side to 9,437,184 in all' }
}
