import { randomBytes } from 'node:crypto'
import type { StoredImage } from '../images/image-body.ts'
import type { StreamedBody } from '../upstream/client.ts'

/** One part of a form: a value, or a file. */
export type FormPart = { name: string; value: string } | { name: string; file: StoredImage; fileName: string }

export interface MultipartBody extends StreamedBody {
  contentType: string
}

/** The parts as multipart/form-data. Each file is opened when its turn comes. The boundary is random: nothing that is sent can hold it. */
export function multipartBody(parts: readonly FormPart[]): MultipartBody {
  const boundary = `atelier-${randomBytes(16).toString('hex')}`
  const pieces = parts.flatMap((part): (Buffer | StoredImage)[] => {
    const head = `--${boundary}\r\ncontent-disposition: form-data; name="${quoted(part.name)}"`
    if ('value' in part) return [Buffer.from(`${head}\r\n\r\n${part.value}\r\n`)]
    const { file, fileName } = part
    const mediaType = file.mediaType || 'application/octet-stream'
    return [Buffer.from(`${head}; filename="${quoted(fileName)}"\r\ncontent-type: ${mediaType}\r\n\r\n`), file, Buffer.from('\r\n')]
  })
  pieces.push(Buffer.from(`--${boundary}--\r\n`))
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    bytes: chunksOf(pieces),
    sizeBytes: pieces.reduce((sum, piece) => sum + ('sizeBytes' in piece ? piece.sizeBytes : piece.length), 0)
  }
}

/** As browsers and OpenAI's SDKs write names. */
function quoted(name: string): string {
  return name.replaceAll('"', '%22').replaceAll('\r', '%0D').replaceAll('\n', '%0A')
}

async function* chunksOf(pieces: readonly (Buffer | StoredImage)[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const piece of pieces) {
    if ('sizeBytes' in piece) yield* piece.open().read('bytes')
    else yield piece
  }
}
