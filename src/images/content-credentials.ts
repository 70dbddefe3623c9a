import type { ImageMediaType } from './media-type.ts'

/** Bytes of a file from a position on, fewer at its end. */
export type ReadAt = (position: number, length: number) => Promise<Buffer>

/**
 * Whether a PNG, JPEG or WebP file carries a C2PA manifest (content credentials: who made the image, and with what), by the structure of
 * the file; nothing is decoded or verified.
 */
export async function hasContentCredentials(mediaType: ImageMediaType, readAt: ReadAt): Promise<boolean> {
  const read = throughWindow(readAt)
  switch (mediaType) {
    case 'image/png':
      return inPng(read)
    case 'image/jpeg':
      return inJpeg(read)
    case 'image/webp':
      return inWebp(read)
    default:
      return false
  }
}

/** A file of more pieces than this was made to waste time. */
const maxPieces = 100_000

async function inPng(read: ReadAt): Promise<boolean> {
  let at = 8
  for (let piece = 0; piece < maxPieces; piece++) {
    const header = await read(at, 8)
    const type = header.toString('latin1', 4)
    if (type === 'caBX') return true
    if (header.length < 8 || type === 'IEND') return false
    at += 12 + header.readUInt32BE(0)
  }
  return false
}

/** JPEG carries the manifest as JUMBF boxes in APP11 segments, all before the image data. */
async function inJpeg(read: ReadAt): Promise<boolean> {
  let at = 2
  for (let piece = 0; piece < maxPieces; piece++) {
    const segment = await read(at, 64)
    const marker = segment[1] ?? 0
    if (segment.length < 4 || segment[0] !== 0xff || marker === startOfScan || marker === endOfImage) return false
    if (marker === 0xff) at += 1
    else {
      const text = segment.toString('latin1')
      if (marker === app11 && text.startsWith('JP', 4) && text.startsWith('jumb', 16) && text.includes('c2pa')) return true
      at += 2 + segment.readUInt16BE(2)
    }
  }
  return false
}

const app11 = 0xeb
const startOfScan = 0xda
const endOfImage = 0xd9

async function inWebp(read: ReadAt): Promise<boolean> {
  let at = 12
  for (let piece = 0; piece < maxPieces; piece++) {
    const header = await read(at, 8)
    if (header.length < 8) return false
    if (header.toString('latin1', 0, 4) === 'C2PA') return true
    const size = header.readUInt32LE(4)
    at += 8 + size + (size % 2)
  }
  return false
}

const windowBytes = 65_536

/** Pieces of a file lie close together: one access to it serves many of them. */
function throughWindow(readAt: ReadAt): ReadAt {
  let start = 0
  let window: Buffer = Buffer.alloc(0)
  return async (position, length) => {
    if (position < start || position + length > start + window.length) {
      window = await readAt(position, windowBytes)
      start = position
    }
    return window.subarray(position - start, position - start + length)
  }
}
