/** Bytes that begin as a PNG image does. */
export function png(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes, Buffer.from(Array.from({ length: 251 }, (_, index) => index)))
  Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex').copy(bytes)
  return bytes
}

export async function* inChunks(bytes: Buffer, chunkBytes: number): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}

export async function collect(body: AsyncIterable<Uint8Array> | undefined): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body ?? []) chunks.push(chunk)
  return Buffer.concat(chunks)
}
