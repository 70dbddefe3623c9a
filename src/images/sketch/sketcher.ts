import { createTurnstile } from '../turnstile.ts'
import { type Composition, composeSketch } from './compose.ts'
import { loadFonts } from './font.ts'
import { type RasterFormat, renderSvg } from './render.ts'

export interface Sketch extends Composition {
  format: RasterFormat
  /** Of JPEG and WebP, from 0 (smallest file) to 100 (best image). */
  quality: number
}

export interface Sketcher {
  /** The file of a sketch; equal sketches give equal bytes. Throws the signal's reason soon after it aborts. */
  draw(sketch: Sketch, signal: AbortSignal): Promise<Uint8Array>
}

export interface SketcherOptions {
  /** Most sketches drawn at a time: each takes about ten bytes for each of its pixels while it is drawn. */
  maxConcurrent: number
}

/** Draws in the thread pool, so that this thread stays free. */
export function createSketcher({ maxConcurrent }: SketcherOptions): Sketcher {
  const fonts = loadFonts()
  const fontFiles = [fonts.title.file, fonts.caption.file]
  const turnstile = createTurnstile(maxConcurrent)
  return {
    draw: (sketch, signal) =>
      turnstile.pass(async () => {
        const { format, quality, transparent } = sketch
        return renderSvg(composeSketch(sketch, fonts), { format, quality, transparent, fontFiles, signal })
      }, signal)
  }
}
