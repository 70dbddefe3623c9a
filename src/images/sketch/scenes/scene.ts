import type { Canvas, Rect } from '../canvas.ts'
import type { Palette } from '../palette.ts'
import type { Random } from '../random.ts'

/** A family of pictures. */
export interface Scene {
  /** Whether its lower part can be kept calm, so that letters may stand on it. */
  carriesLetters: boolean
  /** Fills the frame, down from `calmFrom` (a height in pixels) in one colour where the scene carries letters; returns that colour. */
  draw(stage: Stage): string
}

export interface Stage {
  canvas: Canvas
  /** What to fill. Marks outside of it are cut off. */
  frame: Rect
  /** From which height on letters stand on the picture; the bottom of the frame where none do. */
  calmFrom: number
  palette: Palette
  /** Colour of the paper around the frame, where there is any: a ground of the same colour would look like a hole. */
  around: string | undefined
  random: Random
  /** Square root of the frame's area: the length by which marks are measured. */
  unit: number
}
