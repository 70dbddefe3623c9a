import { asBuffer } from './as-buffer.ts'

export type ImageMediaType = 'image/png' | 'image/jpeg' | 'image/webp' | 'image/gif' | 'image/svg+xml' | 'image/avif'

/** What the first bytes of an image say that it is, whatever its sender calls it; 1 KiB is enough. */
export function sniffMediaType(head: Uint8Array): ImageMediaType | undefined {
  const bytes = asBuffer(head)
  const starts = (signature: string, at = 0) => bytes.toString('latin1', at, at + signature.length) === signature
  if (starts('\x89PNG\r\n\x1a\n')) return 'image/png'
  if (starts('\xff\xd8\xff')) return 'image/jpeg'
  if (starts('RIFF') && starts('WEBP', 8)) return 'image/webp'
  if (starts('GIF87a') || starts('GIF89a')) return 'image/gif'
  if (starts('ftypavif', 4) || starts('ftypavis', 4)) return 'image/avif'
  return opensSvg(bytes.toString('utf8', 0, 4096)) ? 'image/svg+xml' : undefined
}

/** The extension, without a dot, of files of a media type; `bin` for what is no image that is known here. */
export function fileExtension(mediaType: string): 'png' | 'jpg' | 'webp' | 'gif' | 'svg' | 'avif' | 'bin' {
  switch (mediaType.split(';')[0]?.trim().toLowerCase()) {
    case 'image/png':
      return 'png'
    case 'image/jpeg':
      return 'jpg'
    case 'image/webp':
      return 'webp'
    case 'image/gif':
      return 'gif'
    case 'image/svg+xml':
      return 'svg'
    case 'image/avif':
      return 'avif'
    default:
      return 'bin'
  }
}

/** Whether the first element is `svg`: before it may stand an XML declaration, comments and a document type. */
function opensSvg(text: string): boolean {
  let rest = text.replace(/^\uFEFF/, '').trimStart()
  while (rest.startsWith('<?') || rest.startsWith('<!')) {
    const closing = rest.startsWith('<!--') ? '-->' : '>'
    const end = rest.indexOf(closing)
    if (end === -1) return false
    rest = rest.slice(end + closing.length).trimStart()
  }
  return /^<svg[\s/>]/.test(rest)
}
