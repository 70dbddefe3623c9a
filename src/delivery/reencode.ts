import type { Sharp } from 'sharp'
import type { PixelSize } from '../images/dimensions.ts'
import { loadSharp } from '../images/load-sharp.ts'
import { maxPixels, type RasterFormat } from './output-changes.ts'

export interface Reencoding {
  from: RasterFormat
  to: RasterFormat
  /** Of JPEG and WebP, from 0 (smallest file) to 100 (best image). */
  quality: number
  /** Exact size; undefined: as it is. */
  size: PixelSize | undefined
}

export interface Reencoded extends PixelSize {
  /** Whether parts were cut off, because the wished size has another ratio. */
  isCropped: boolean
  /** Whether transparent areas became white. */
  isFlattened: boolean
}

/** Longest time for one image: on a busy machine the largest ones take half of it; others that do are made to be slow. */
export const timeoutSeconds = 120

/**
 * Writes the image of one file to another, turned upright as its EXIF data asks, in sRGB, without metadata. An image of another ratio than
 * the wished size is cut to it at its centre. Throws where the file is broken, is not of the stated format, or has too many pixels; the
 * message is for the log.
 */
export async function reencode(inputPath: string, outputPath: string, order: Reencoding): Promise<Reencoded> {
  const { format, pages, hasAlpha, autoOrient: upright } = await open(inputPath).metadata()
  if (format !== order.from || (pages ?? 1) > 1) throw new Error(`the file is a ${format} of ${pages ?? 1} pages`)
  const isFlattened = order.to === 'jpeg' && hasAlpha && !(await isOpaque(inputPath))
  const isCropped = order.size !== undefined && cropsPixels(upright, order.size)
  const image = open(inputPath).autoOrient()
  if (order.size) image.resize(order.size.width, order.size.height, { fit: isCropped ? 'cover' : 'fill', position: 'centre' })
  if (order.to === 'jpeg') image.flatten({ background: '#ffffff' })
  const { width, height } = await encode(image, order).timeout({ seconds: timeoutSeconds }).toFile(outputPath)
  return { width, height, isCropped, isFlattened }
}

/** Width and height of an image file as its header states them. Throws as `reencode` does. */
export async function readSize(path: string): Promise<PixelSize> {
  const { width, height } = await open(path).metadata()
  return { width, height }
}

function open(path: string): Sharp {
  return loadSharp()(path, { limitInputPixels: maxPixels, limitInputChannels: 4, sequentialRead: true, pages: 1, failOn: 'error' })
}

const white = Buffer.alloc(65_536, 0xff)

async function isOpaque(path: string): Promise<boolean> {
  const alpha = await open(path).extractChannel('alpha').timeout({ seconds: timeoutSeconds }).raw().toBuffer()
  for (let at = 0; at < alpha.length; at += white.length) {
    const piece = alpha.subarray(at, at + white.length)
    if (!piece.equals(white.subarray(0, piece.length))) return false
  }
  return true
}

/** Ratios that differ by less than a pixel are the same: no grid of pixels could be closer. */
function cropsPixels(from: PixelSize, to: PixelSize): boolean {
  const scale = Math.max(to.width / from.width, to.height / from.height)
  return from.width * scale - to.width >= 1 || from.height * scale - to.height >= 1
}

function encode(image: Sharp, { to, quality }: Reencoding): Sharp {
  const percent = Math.max(1, quality)
  switch (to) {
    case 'png':
      return image.png({ compressionLevel: 6 })
    case 'jpeg':
      return image.jpeg({ quality: percent, chromaSubsampling: percent >= 80 ? '4:4:4' : '4:2:0' })
    case 'webp':
      return image.webp({ quality: percent })
  }
}
