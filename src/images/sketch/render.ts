import { setImmediate as nextTurn } from 'node:timers/promises'
import { renderAsync } from '@resvg/resvg-js'
import sharp, { type Sharp } from 'sharp'

export type RasterFormat = 'png' | 'jpeg' | 'webp'

export interface RenderOptions {
  format: RasterFormat
  /** Of JPEG and WebP, from 0 (smallest file) to 100 (best image). */
  quality: number
  /** Keeps what is transparent in the SVG so; JPEG cannot. */
  transparent: boolean
  /** TrueType files; no other font is used, so that the result is the same on every machine. */
  fontFiles: readonly string[]
  /** Checked between the steps; its reason is thrown. */
  signal: AbortSignal
}

/** Draws an SVG in its own size and encodes it, both in the thread pool. The same input gives the same bytes. */
export async function renderSvg(svg: string, options: RenderOptions): Promise<Uint8Array> {
  options.signal.throwIfAborted()
  const drawn = await renderAsync(svg, { font: { loadSystemFonts: false, fontFiles: [...options.fontFiles] } })
  options.signal.throwIfAborted()
  // The renderer's own PNG encoder would run in this thread.
  const pixels = drawn.pixels
  if (options.transparent) await unpremultiply(pixels)
  options.signal.throwIfAborted()
  const image = sharp(pixels, { raw: { width: drawn.width, height: drawn.height, channels: 4 } })
  return encode(options.transparent ? image : image.removeAlpha(), options)
}

function encode(image: Sharp, { format, quality }: RenderOptions): Promise<Uint8Array> {
  const percent = Math.max(1, quality)
  switch (format) {
    case 'png':
      return image.png({ compressionLevel: 6 }).toBuffer()
    case 'jpeg':
      return image.jpeg({ quality: percent, chromaSubsampling: percent >= 80 ? '4:4:4' : '4:2:0' }).toBuffer()
    case 'webp':
      return image.webp({ quality: percent }).toBuffer()
  }
}

/** The renderer gives colours multiplied by their opacity, files hold them plain. Works in slices that let other work in between. */
async function unpremultiply(pixels: Buffer): Promise<void> {
  const sliceBytes = 2 ** 20
  for (let start = 0; start < pixels.length; start += sliceBytes) {
    const end = Math.min(pixels.length, start + sliceBytes)
    for (let at = start; at < end; at += 4) {
      const alpha = pixels[at + 3] ?? 0
      if (alpha === 0 || alpha === 255) continue
      for (let channel = at; channel < at + 3; channel++)
        pixels[channel] = Math.min(255, Math.round(((pixels[channel] ?? 0) * 255) / alpha))
    }
    await nextTurn()
  }
}
