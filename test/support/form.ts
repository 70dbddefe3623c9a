/** One part of a form as it stands on the wire. */
export interface FormPart {
  name: string
  content: string | Uint8Array
  filename?: string
  type?: string
}

export const boundary = 'AtelierTestBoundary7MA4YWxk'

/** A multipart/form-data body, written out by hand. */
export function formBody(parts: readonly FormPart[]): Buffer<ArrayBuffer> {
  return Buffer.concat([
    ...parts.flatMap(({ name, content, filename, type }) => [
      Buffer.from(
        `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${filename === undefined ? '' : `; filename="${filename}"`}\r\n` +
          `${type === undefined ? '' : `content-type: ${type}\r\n`}\r\n`
      ),
      Buffer.from(content),
      Buffer.from('\r\n')
    ]),
    Buffer.from(`--${boundary}--\r\n`)
  ])
}
