import { asBuffer } from './as-buffer.ts'
import { sniffMediaType } from './media-type.ts'

/**
 * Whether an image is meant to move: a GIF, an animated WebP, or a PNG with an animation chunk. Told from its first bytes; undefined where
 * more of them are needed.
 */
export function isAnimated(head: Uint8Array): boolean | undefined {
  const bytes = asBuffer(head)
  switch (sniffMediaType(bytes)) {
    case 'image/gif':
      return true
    case 'image/webp':
      if (bytes.length < 21) return undefined
      return bytes.toString('latin1', 12, 16) === 'VP8X' && ((bytes[20] ?? 0) & 0x02) !== 0
    case 'image/png':
      return isAnimatedPng(bytes)
    default:
      return bytes.length < 12 ? undefined : false
  }
}

/** The animation control chunk stands before the first image data. */
function isAnimatedPng(bytes: Buffer): boolean | undefined {
  for (let at = 8; at + 8 <= bytes.length; at += 12 + bytes.readUInt32BE(at)) {
    const type = bytes.toString('latin1', at + 4, at + 8)
    if (type === 'acTL') return true
    if (type === 'IDAT' || type === 'IEND') return false
  }
  return undefined
}
