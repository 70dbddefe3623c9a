import { crc32 } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'

export type PictureFormat = 'png' | 'jpeg' | 'webp'

/** Noise, which no format can make small; equal arguments need not give equal bytes. */
export function noise(width: number, height: number): Sharp {
  return sharp({ create: { width, height, channels: 3, background: 'black', noise: { type: 'gaussian', mean: 128, sigma: 40 } } })
}

/** The left half red, the right half blue. */
export async function halves(width: number, height: number, format: PictureFormat): Promise<Buffer> {
  const right = { create: { width: width / 2, height, channels: 3 as const, background: '#0000ff' } }
  return sharp({ create: { width, height, channels: 3, background: '#ff0000' } })
    .composite([{ input: right, left: width / 2, top: 0 }])
    .removeAlpha()
    .toFormat(format)
    .toBuffer()
}

/** Colour of one pixel, with its opacity where the image has any. */
export async function pixelAt(bytes: Uint8Array, x: number, y: number): Promise<number[]> {
  return [...(await sharp(bytes).extract({ left: x, top: y, width: 1, height: 1 }).raw().toBuffer())]
}

/** The same image with a C2PA manifest of this many bytes where the format keeps it; its boxes are real, its content is not. */
export function withContentCredentials(image: Buffer, format: PictureFormat, sizeBytes = 2000): Buffer {
  const manifest = jumbf(Buffer.alloc(sizeBytes, 'm'))
  switch (format) {
    case 'png':
      return insertPngChunk(image, 'caBX', manifest)
    case 'jpeg':
      return withSegments(image, 0xeb, manifest)
    case 'webp':
      return appendWebpChunk(image, 'C2PA', manifest)
  }
}

/** A chunk right behind the header of a PNG. */
export function insertPngChunk(png: Buffer, type: string, data: Buffer): Buffer {
  const headerEnd = 33
  return Buffer.concat([png.subarray(0, headerEnd), pngChunk(type, data), png.subarray(headerEnd)])
}

export function pngChunk(type: string, data: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), data])
  return Buffer.concat([uint32(data.length), named, uint32(crc32(named))])
}

/** Data in as many JPEG segments as it takes, right behind the first marker. */
export function withSegments(jpeg: Buffer, marker: number, data: Buffer): Buffer {
  const segments: Buffer[] = []
  const boxHeader = data.subarray(0, 8)
  for (let at = 0, sequence = 1; at < data.length; at += 60_000, sequence++) {
    const piece = Buffer.concat([at === 0 ? Buffer.alloc(0) : boxHeader, data.subarray(at, at + 60_000)])
    const content = Buffer.concat([Buffer.from('JP\x00\x01', 'latin1'), uint32(sequence), piece])
    segments.push(Buffer.from([0xff, marker, (content.length + 2) >> 8, (content.length + 2) & 0xff]), content)
  }
  return Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2)])
}

function appendWebpChunk(webp: Buffer, type: string, data: Buffer): Buffer {
  const size = Buffer.alloc(4)
  size.writeUInt32LE(data.length)
  const padding = Buffer.alloc(data.length % 2)
  const file = Buffer.concat([webp, Buffer.from(type, 'latin1'), size, data, padding])
  file.writeUInt32LE(file.length - 8, 4)
  return file
}

/** A JUMBF superbox with the description box of a C2PA manifest store. */
function jumbf(content: Buffer): Buffer {
  const uuid = Buffer.from('6332706100110010800000aa00389b71', 'hex')
  const description = box('jumd', Buffer.concat([uuid, Buffer.from([0x03]), Buffer.from('c2pa\0', 'latin1')]))
  return box('jumb', Buffer.concat([description, box('free', content)]))
}

function box(type: string, content: Buffer): Buffer {
  return Buffer.concat([uint32(content.length + 8), Buffer.from(type, 'latin1'), content])
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
