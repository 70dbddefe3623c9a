import { createTurnstile } from '../turnstile.ts'
import { type Composition, composeSketch } from './compose.ts'
import { loadFonts } from './font.ts'
import { drawSvg, encodePixels, type RasterFormat } from './render.ts'
import { type Retouched, retouch } from './retouch.ts'

export interface Sketch extends Composition {
  format: RasterFormat
  /** Of JPEG and WebP, from 0 (smallest file) to 100 (best image). */
  quality: number
  /** Images to draw on, instead of on paper. */
  on?: Retouched
}

export interface Sketcher {
  /**
   * The file of a sketch; equal sketches give equal bytes. Throws the signal's reason soon after it aborts, and INVALID_PARAMETER where an
   * image to draw on is broken.
   */
  draw(sketch: Sketch, signal: AbortSignal): Promise<Uint8Array>
}

export interface SketcherOptions {
  /** Most sketches drawn at a time: each takes about ten bytes for each of its pixels while it is drawn, on images twice as many. */
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
        const { on } = sketch
        // On a whole image a sticker leaves something of it to be seen; a mask is filled with all of a poster.
        const transparent = on ? on.mask === undefined : sketch.transparent
        const drawn = await drawSvg(composeSketch({ ...sketch, transparent }, fonts), { fontFiles, transparent, signal })
        return encodePixels(on ? await retouch(drawn, on, sketch.transparent, signal) : drawn, sketch)
      }, signal)
  }
}
