import { createHash } from 'node:crypto'
import sharp from 'sharp'

export interface Picture {
  bytes: Buffer
  base64: string
  mediaType: string
}

export interface PictureRequest {
  width: number
  height: number
  outputFormat: string
  transparent: boolean
  /** Equal seeds give equal pictures. */
  seed: string
  /** Noise instead of a gradient: about 3 MB as a PNG of 1024x1024. */
  incompressible: boolean
}

/** Draws pictures, keeps the latest for repeated requests, and finds the latest of those that were published. */
export function createPictures() {
  const drawn = new Map<string, Promise<Picture>>()
  const published = new Map<string, Picture>()
  let publications = 0

  return {
    draw(request: PictureRequest): Promise<Picture> {
      const { width, height, outputFormat, transparent, seed, incompressible } = request
      const key = JSON.stringify([width, height, outputFormat, transparent, seed, incompressible])
      const picture = drawn.get(key) ?? draw(request)
      remember(drawn, key, picture)
      return picture
    },
    /** The path under which the picture can be fetched. */
    publish(picture: Picture): string {
      const path = `/files/img-${publications++}-${createHash('sha256').update(picture.bytes).digest('hex').slice(0, 24)}.${picture.mediaType.slice(6)}`
      remember(published, path, picture)
      return path
    },
    find(path: string): Picture | undefined {
      return published.get(path)
    }
  }
}

function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.set(key, value)
  const oldest = map.keys().next().value
  if (map.size > 256 && oldest !== undefined) map.delete(oldest)
}

async function draw(request: PictureRequest): Promise<Picture> {
  const { width, height, outputFormat, transparent, seed, incompressible } = request
  const [red = 0, green = 0, blue = 0] = createHash('sha256').update(seed).digest()
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><defs><linearGradient id="g" x2="1" y2="1"><stop stop-color="rgb(${red},${green},${blue})"/><stop offset="1" stop-color="rgb(${blue},${red},${green})"/></linearGradient></defs>${transparent ? '' : `<rect width="100%" height="100%" fill="rgb(${green},${blue},${red})"/>`}<circle cx="50%" cy="50%" r="40%" fill="url(#g)"/></svg>`
  if (outputFormat === 'svg') return toPicture(Buffer.from(svg), 'image/svg+xml')
  const noise = { type: 'gaussian', mean: 128, sigma: 60 } as const
  const image = incompressible
    ? sharp({ create: { width, height, channels: 3, background: { r: red, g: green, b: blue }, noise } })
    : sharp(Buffer.from(svg))
  const flat = transparent ? image : image.removeAlpha()
  const format = outputFormat as 'png' | 'jpeg' | 'webp' | 'gif'
  return toPicture(await flat.toFormat(format).toBuffer(), `image/${format}`)
}

function toPicture(bytes: Buffer, mediaType: string): Picture {
  return { bytes, base64: bytes.toString('base64'), mediaType }
}
