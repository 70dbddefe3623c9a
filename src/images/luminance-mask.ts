import { imageFromBytes, type StoredImage } from './image-body.ts'
import { loadSharp } from './load-sharp.ts'

/**
 * A mask that says by brightness what another one says by opacity: white where that is transparent, black where it is opaque, and grey in
 * between. It is a PNG in memory; throws what the source throws, and an Error for what is no image of at most 50 megapixels.
 */
export async function toLuminanceMask(mask: StoredImage): Promise<StoredImage> {
  const decoder = loadSharp()({ limitInputPixels: mostPixels, failOn: 'error' })
  const made = decoder.ensureAlpha().extractChannel('alpha').negate().toColourspace('b-w').png().toBuffer()
  // Awaited below, whatever becomes of the source before.
  made.catch(() => undefined)
  try {
    for await (const chunk of mask.open().read('bytes')) decoder.write(chunk)
    decoder.end()
  } catch (error) {
    decoder.destroy()
    throw error
  }
  const bytes = await made
  return { mediaType: 'image/png', sizeBytes: bytes.length, open: () => imageFromBytes(bytes, 'image/png') }
}

const mostPixels = 50_000_000
