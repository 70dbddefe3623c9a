import { asBuffer } from './as-buffer.ts'
import { sniffMediaType } from './media-type.ts'

export interface PixelSize {
  width: number
  height: number
}

/**
 * Width and height in pixels of a PNG, JPEG, WebP or GIF, as its header states them, from its first bytes. 64 KiB are enough but for
 * JPEGs with much metadata. Undefined where the bytes do not say.
 */
export function readDimensions(head: Uint8Array): PixelSize | undefined {
  const bytes = asBuffer(head)
  switch (sniffMediaType(bytes)) {
    case 'image/png':
      return bytes.length >= 24 && isAt(bytes, 12, 'IHDR') ? sized(bytes.readUInt32BE(16), bytes.readUInt32BE(20)) : undefined
    case 'image/gif':
      return bytes.length >= 10 ? sized(bytes.readUInt16LE(6), bytes.readUInt16LE(8)) : undefined
    case 'image/webp':
      return bytes.length >= 30 ? webpDimensions(bytes) : undefined
    case 'image/jpeg':
      return jpegDimensions(bytes)
    default:
      return undefined
  }
}

function webpDimensions(bytes: Buffer): PixelSize | undefined {
  if (isAt(bytes, 12, 'VP8X')) return sized(bytes.readUIntLE(24, 3) + 1, bytes.readUIntLE(27, 3) + 1)
  // Lossy: a key frame's start code, then 14 bits each; the two above them scale.
  if (isAt(bytes, 12, 'VP8 ') && isAt(bytes, 23, '\x9d\x01\x2a')) {
    return sized(bytes.readUInt16LE(26) & 0x3fff, bytes.readUInt16LE(28) & 0x3fff)
  }
  if (isAt(bytes, 12, 'VP8L') && bytes[20] === 0x2f) {
    const packed = bytes.readUInt32LE(21)
    return sized((packed & 0x3fff) + 1, ((packed >>> 14) & 0x3fff) + 1)
  }
  return undefined
}

/** Walks the segments up to the frame header. */
function jpegDimensions(bytes: Buffer): PixelSize | undefined {
  let at = 2
  while (at + 9 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1] ?? 0
    if (marker === 0xff) {
      at += 1
    } else if (isFrameHeader(marker)) {
      return sized(bytes.readUInt16BE(at + 7), bytes.readUInt16BE(at + 5))
    } else {
      at += 2 + bytes.readUInt16BE(at + 2)
    }
  }
  return undefined
}

/** SOF0 to SOF15; among them stand DHT, JPG and DAC, which are none. */
function isFrameHeader(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
}

function isAt(bytes: Buffer, at: number, signature: string): boolean {
  return bytes.toString('latin1', at, at + signature.length) === signature
}

function sized(width: number, height: number): PixelSize | undefined {
  return width > 0 && height > 0 ? { width, height } : undefined
}
