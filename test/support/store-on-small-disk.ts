import { readdir } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { GatewayError } from '../../src/errors.ts'
import { imageFromBase64 } from '../../src/images/image-body.ts'
import { createDiskBlobStore } from '../../src/storage/blobs/disk-blob-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { inChunks, png } from './blob-contents.ts'

/** Stores an image of so many bytes in a directory and reads it at a pace; tells what became of it. For a process whose files may not grow large. */
const [directory = '', dataDir = '', size = '', pace = ''] = process.argv.slice(2)
const text = Buffer.from(png(Number(size)).toString('base64'))
await using database = await openDatabase({ dataDir })
const store = createDiskBlobStore({ directory }, { database })
const incoming = store.take(imageFromBase64(inTurns(inChunks(text, 65_537)), 'image/png'), {
  organizationId: 'default',
  lifetimeSeconds: 60
})
const storing = incoming.stored.then(
  () => 'stored',
  (error: unknown) => (error instanceof GatewayError ? `${error.reason} ${error.outcome}: ${error.message}` : String(error))
)
if (pace === 'afterwards') await storing.then(() => wait(300))
const chunks: Uint8Array[] = []
let reading = 'whole'
try {
  for await (const chunk of incoming.body.read('base64')) {
    chunks.push(chunk)
    if (pace === 'slowly' && chunks.length === 1) await storing
  }
  if (!Buffer.concat(chunks).equals(text)) reading = 'damaged'
} catch (error) {
  reading = String(error instanceof GatewayError ? error.message : error)
}
const outcome = await storing
const left = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
process.stdout.write(JSON.stringify({ storing: outcome, reading, filesLeft: left.length }))

async function* inTurns(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    await new Promise(setImmediate)
    yield chunk
  }
}
