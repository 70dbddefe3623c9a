import { asBuffer } from './as-buffer.ts'
import { type ByteReader, createByteReader } from './byte-reader.ts'
import { type PixelSize, readDimensions } from './dimensions.ts'
import { findForeign } from './find-foreign.ts'
import { sniffMediaType } from './media-type.ts'

/** How a PNG, JPEG or WebP file is built, as far as that shows without decoding it. */
export interface ImageStructure {
  /** As its header states it. */
  size: PixelSize | undefined
  /** Whether it is built as its format asks, up to its end. */
  isWhole: boolean
  isAnimated: boolean
  /** Whether its pixels can be transparent. */
  hasAlpha: boolean
  /** What it is besides an image, in words: "a zip archive". */
  foreign: string | undefined
}

type Walked = Omit<ImageStructure, 'foreign'>

/**
 * Reads a file of a known size through, chunk by chunk. Never throws for what the file holds; what is no PNG, JPEG or WebP is not whole.
 * Data behind the end is foreign, but for JPEG: cameras put further pictures and films there.
 */
export async function readStructure(chunks: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<ImageStructure> {
  const search = findForeign()
  await using reader = createByteReader(chunks, search.look)
  const head = (await reader.peek(30)) ?? Buffer.alloc(0)
  const mediaType = sniffMediaType(head)
  const walked = await walk(reader, head, sizeBytes)
  const endsAt = reader.position
  const behind = walked.isWhole ? await reader.peek(16) : undefined
  await reader.drain()
  const hasMore = walked.isWhole && endsAt < sizeBytes
  const second = behind && sniffMediaType(behind)
  const besides = second !== undefined && second !== mediaType ? 'a second image' : undefined
  const appended = hasMore && mediaType !== 'image/jpeg' ? 'data behind its end' : undefined
  return { ...walked, foreign: search.found() ?? besides ?? appended }
}

function walk(reader: ByteReader, head: Buffer, sizeBytes: number): Promise<Walked> {
  switch (sniffMediaType(head)) {
    case 'image/png':
      return walkPng(reader)
    case 'image/jpeg':
      return walkJpeg(reader)
    case 'image/webp':
      return walkWebp(reader, head, sizeBytes)
    default:
      return Promise.resolve(nothing)
  }
}

const nothing: Walked = { size: undefined, isWhole: false, isAnimated: false, hasAlpha: false }

/** Far more than real files have; each one costs a step. */
const maxPieces = 100_000

async function walkPng(reader: ByteReader): Promise<Walked> {
  const seen = { ...nothing }
  let hasData = false
  await reader.take(8)
  for (let pieces = 0; pieces < maxPieces; pieces++) {
    const header = await reader.take(8)
    if (!header) break
    const length = header.readUInt32BE(0)
    const type = header.toString('latin1', 4, 8)
    if ((pieces === 0) !== (type === 'IHDR')) break
    if (type === 'IHDR') {
      const fields = length === 13 ? await reader.take(13) : undefined
      if (!fields) break
      const [width, height] = [fields.readUInt32BE(0), fields.readUInt32BE(4)]
      if (width > 0 && height > 0) seen.size = { width, height }
      seen.hasAlpha = ((fields[9] ?? 0) & 4) !== 0
      if (!(await reader.skip(4))) break
      continue
    }
    if (type === 'tRNS') seen.hasAlpha = true
    if (type === 'acTL') seen.isAnimated = true
    if (type === 'IDAT') hasData = true
    if (!(await reader.skip(length + 4))) break
    if (type === 'IEND') return { ...seen, isWhole: hasData }
  }
  return seen
}

async function walkJpeg(reader: ByteReader): Promise<Walked> {
  const seen = { ...nothing }
  let hasScan = false
  await reader.take(2)
  for (let pieces = 0; pieces < maxPieces; pieces++) {
    const marker = await reader.nextMarker(hasScan)
    if (marker === undefined || marker === 0xd8) break
    if (marker === 0xd9) return { ...seen, isWhole: hasScan && seen.size !== undefined }
    const length = (await reader.take(2))?.readUInt16BE(0) ?? 0
    if (length < 2) break
    if (isFrameHeader(marker)) {
      const fields = length >= 8 ? await reader.take(5) : undefined
      if (!fields) break
      const [height, width] = [fields.readUInt16BE(1), fields.readUInt16BE(3)]
      if (width > 0 && height > 0) seen.size ??= { width, height }
      if (!(await reader.skip(length - 7))) break
      continue
    }
    if (marker === 0xda) hasScan = true
    if (!(await reader.skip(length - 2))) break
  }
  return seen
}

/** SOF0 to SOF15; among them stand DHT, JPG and DAC, which are none. */
function isFrameHeader(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
}

async function walkWebp(reader: ByteReader, head: Buffer, sizeBytes: number): Promise<Walked> {
  const endsAt = head.length >= 8 ? head.readUInt32LE(4) + 8 : Number.POSITIVE_INFINITY
  const kind = head.toString('latin1', 12, 16)
  const flags = head[20] ?? 0
  await reader.skip(Math.min(endsAt, sizeBytes))
  return {
    size: readDimensions(asBuffer(head)),
    isWhole: endsAt <= sizeBytes,
    isAnimated: kind === 'VP8X' && (flags & 0x02) !== 0,
    hasAlpha: kind === 'VP8X' ? (flags & 0x10) !== 0 : kind === 'VP8L' && ((head[24] ?? 0) & 0x10) !== 0
  }
}
