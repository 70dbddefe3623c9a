import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Sharp } from 'sharp'
import { loadSharp } from '../load-sharp.ts'

export type RasterFormat = 'png' | 'jpeg' | 'webp'

export interface DrawOptions {
  /** TrueType files; no other font is used, so that the result is the same on every machine. */
  fontFiles: readonly string[]
  /** Keeps what is transparent in the SVG so. */
  transparent: boolean
  /** Checked between the steps; its reason is thrown. */
  signal: AbortSignal
}

/** Four bytes a pixel: red, green, blue, opacity. */
export interface Pixels {
  data: Buffer
  width: number
  height: number
}

export interface FileFormat {
  format: RasterFormat
  /** Of JPEG and WebP, from 0 (smallest file) to 100 (best image). */
  quality: number
  /** Keeps what is transparent so; JPEG cannot. */
  transparent: boolean
}

/** Draws an SVG in its own size, in the thread pool. The same input gives the same pixels. */
export async function drawSvg(svg: string, { fontFiles, transparent, signal }: DrawOptions): Promise<Pixels> {
  signal.throwIfAborted()
  // Loaded with the first drawing.
  const { renderAsync } = await import('@resvg/resvg-js')
  const drawn = await renderAsync(svg, { font: { loadSystemFonts: false, fontFiles: [...fontFiles] } })
  signal.throwIfAborted()
  // The renderer's own PNG encoder would run in this thread.
  const { pixels: data, width, height } = drawn
  if (transparent) await unpremultiply(data)
  signal.throwIfAborted()
  return { data, width, height }
}

/** Makes a file of pixels, in the thread pool. The same input gives the same bytes. */
export function encodePixels({ data, width, height }: Pixels, to: FileFormat): Promise<Uint8Array> {
  const image = loadSharp()(data, { raw: { width, height, channels: 4 } })
  return encode(to.transparent ? image : image.removeAlpha(), to)
}

function encode(image: Sharp, { format, quality }: FileFormat): Promise<Uint8Array> {
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
