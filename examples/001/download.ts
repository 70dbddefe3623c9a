// Seed 001, image URL expiration: download and store images immediately.
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createImage } from './create-image.ts'

const response = await createImage({ model: 'dall-e-3', prompt: 'A golden retriever puppy playing in autumn leaves' })
const imageUrl = response.data[0]?.url ?? ''

const download = await fetch(imageUrl)
const imageBuffer = new Uint8Array(await download.arrayBuffer())
const path = process.argv[2] ?? join(tmpdir(), 'puppy.png')
await writeFile(path, imageBuffer)
console.log(`${imageBuffer.length} bytes saved as ${path}`)
