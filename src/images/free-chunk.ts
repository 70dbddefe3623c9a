/**
 * Frees the memory of a chunk that has been used, unless it is a part of something larger. Otherwise it would wait for V8, which counts what
 * waits and collects the whole heap for it. Only for who has the chunk alone: everybody else would find it empty.
 */
export function freeChunk({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
}
