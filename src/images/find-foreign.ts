/** Signatures of what an image has no business to hold, long enough never to come up in compressed data by chance. */
const signatures: readonly { bytes: Buffer; words: string; withinBytes?: number }[] = [
  { bytes: Buffer.from('PK\x05\x06\0\0\0\0', 'latin1'), words: 'a zip archive' },
  { bytes: Buffer.from('Rar!\x1a\x07', 'latin1'), words: 'a rar archive' },
  { bytes: Buffer.from('7z\xbc\xaf\x27\x1c', 'latin1'), words: 'a 7z archive' },
  { bytes: Buffer.from('<script', 'latin1'), words: 'a script' },
  { bytes: Buffer.from('<?php', 'latin1'), words: 'a script' },
  // Readers of PDF look for its beginning no further.
  { bytes: Buffer.from('%PDF-', 'latin1'), words: 'a pdf document', withinBytes: 1024 }
]

const longest = Math.max(...signatures.map(({ bytes }) => bytes.length))

/** Looks for other kinds of files in one that passes by in chunks. */
export function findForeign() {
  let before: Buffer = Buffer.alloc(0)
  let position = 0
  let words: string | undefined

  function search(window: Buffer, startsAt: number): void {
    for (const signature of signatures) {
      if (words !== undefined) return
      if (startsAt >= (signature.withinBytes ?? Number.POSITIVE_INFINITY)) continue
      const at = window.indexOf(signature.bytes)
      if (at !== -1 && startsAt + at < (signature.withinBytes ?? Number.POSITIVE_INFINITY)) words = signature.words
    }
  }

  return {
    look(chunk: Buffer): void {
      const border = Buffer.concat([before, chunk.subarray(0, longest - 1)])
      search(border, position - before.length)
      search(chunk, position)
      position += chunk.length
      before =
        chunk.length >= longest - 1 ? Buffer.from(chunk.subarray(1 - longest)) : border.subarray(Math.max(0, border.length - longest + 1))
    },
    /** What was found, in words. */
    found: () => words
  }
}
