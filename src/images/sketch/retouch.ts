import { setImmediate as nextTurn } from 'node:timers/promises'
import type { OverlayOptions, Sharp } from 'sharp'
import { gatewayError } from '../../errors.ts'
import { readWhole, type StoredImage } from '../image-body.ts'
import { loadSharp } from '../load-sharp.ts'
import type { Pixels } from './render.ts'

/** Images to draw on. Each has been checked to be a still PNG, JPEG or WebP of a bounded number of pixels. */
export interface Retouched {
  /** The first one is drawn on; the others are shown on it, small, side by side. */
  images: readonly StoredImage[]
  /** Of the first image's size: where it is transparent, the drawing shows in full, elsewhere not at all. */
  mask?: StoredImage
}

/**
 * Lays a drawing over an image, cut to the drawing's size at its centre: inside the mask, or, translucent, everywhere. Unless `transparent`,
 * what is transparent in the image becomes white. Throws INVALID_PARAMETER where a file cannot be decoded.
 */
export async function retouch(drawing: Pixels, { images, mask }: Retouched, transparent: boolean, signal: AbortSignal): Promise<Pixels> {
  const { width, height } = drawing
  const [first, ...others] = images
  if (!first) return drawing
  const thumbnails = await layThumbnails(others, width, height, signal)
  const overlay = thumbnails.length === 0 ? drawing.data : await raw(fromPixels(drawing).composite(thumbnails))
  signal.throwIfAborted()
  const opacities = mask && (await decoded(mask, 'mask', (image) => raw(cover(image, width, height))))
  await fade(overlay, opacities)
  signal.throwIfAborted()
  const turned = (image: Sharp) => (mask ? image : image.autoOrient())
  const base = await decoded(first, 'image', (image) => raw(cover(turned(image), width, height)))
  signal.throwIfAborted()
  const composed = fromPixels({ data: base, width, height }).composite([{ input: overlay, raw: { width, height, channels: 4 } }])
  const data = await raw(composed)
  return {
    data: transparent ? data : await raw(fromPixels({ data, width, height }).flatten({ background: '#ffffff' }).ensureAlpha()),
    width,
    height
  }
}

/** A mask's opaque places hide the drawing; without a mask some of the image shines through everywhere. */
async function fade(overlay: Buffer, mask: Buffer | undefined): Promise<void> {
  const sliceBytes = 2 ** 22
  for (let start = 3; start < overlay.length; start += sliceBytes) {
    const end = Math.min(overlay.length, start + sliceBytes)
    for (let at = start; at < end; at += 4) {
      const share = mask ? 1 - (mask[at] ?? 0) / 255 : translucency
      overlay[at] = Math.round((overlay[at] ?? 0) * share)
    }
    await nextTurn()
  }
}

const translucency = 0.8

async function layThumbnails(
  images: readonly StoredImage[],
  width: number,
  height: number,
  signal: AbortSignal
): Promise<OverlayOptions[]> {
  const edge = Math.max(8, Math.floor(Math.min(width, height) / 8))
  const perRow = Math.max(1, Math.floor(width / edge))
  const laid: OverlayOptions[] = []
  for (const [index, image] of images.entries()) {
    const top = Math.floor(index / perRow) * edge
    if (top + edge > height) break
    signal.throwIfAborted()
    const input = await decoded(image, `image[${index + 1}]`, (opened) => raw(cover(opened.autoOrient(), edge, edge)))
    laid.push({ input, raw: { width: edge, height: edge, channels: 4 }, left: (index % perRow) * edge, top })
  }
  return laid
}

/** The same limit as for files that come in. */
const maxFileBytes = 64 * 1024 * 1024
const maxPixels = 50_000_000

async function decoded(stored: StoredImage, param: string, read: (image: Sharp) => Promise<Buffer>): Promise<Buffer> {
  const bytes = await readWhole(stored.open(), 'bytes', maxFileBytes)
  try {
    return await read(
      loadSharp()(bytes, { limitInputPixels: maxPixels, sequentialRead: true, pages: 1, failOn: 'error' }).timeout({ seconds: 60 })
    )
  } catch (error) {
    throw gatewayError('INVALID_PARAMETER', { param, problem: 'is broken and cannot be decoded' }, { outcome: 'rejected', cause: error })
  }
}

function cover(image: Sharp, width: number, height: number): Sharp {
  return image.resize(width, height, { fit: 'cover', position: 'centre' }).toColourspace('srgb').ensureAlpha()
}

function fromPixels({ data, width, height }: Pixels): Sharp {
  return loadSharp()(data, { raw: { width, height, channels: 4 } })
}

function raw(image: Sharp): Promise<Buffer> {
  return image.raw({ depth: 'uchar' }).toBuffer()
}
