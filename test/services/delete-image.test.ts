import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { DeleteImageRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import { createDeleteImage } from '../../src/services/delete-image.ts'
import { createDiskBlobStore } from '../../src/storage/blobs/disk-blob-store.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { createCall } from '../support/call.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const png = Buffer.from('89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de', 'hex')
const notFound = { reason: 'IMAGE_NOT_FOUND', param: 'image_id' }

test('deletes an image of the caller’s organization, once', async () => {
  await using stored = await openStored()
  await expect(stored.deleteImage(stored.id)).resolves.toBeUndefined()
  expect(await stored.blobs.open(stored.id)).toBeUndefined()
  await expect(stored.deleteImage(stored.id)).rejects.toMatchObject(notFound)
})

test('treats an image of another organization as one that does not exist, and leaves it alone', async () => {
  await using stored = await openStored()
  const caller = { organizationId: 'other', apiKeyId: 'key-2', scopes: ['generate'] as const }
  await expect(stored.deleteImage(stored.id, caller)).rejects.toMatchObject(notFound)
  expect((await stored.blobs.open(stored.id))?.id).toBe(stored.id)
})

test.each([
  ['with an extension', (id: string) => `${id}.png`],
  ['with a signature', (id: string) => `${id}/1750003600-AAAAAAAAAAAAAAAAAAAAAAAA.png`],
  ['with a path before it', (id: string) => `../${id}`],
  ['that is cut', (id: string) => id.slice(1)],
  ['that is unknown', () => 'aaaaaaaaaaaaaaaaaaaaaa'],
  ['that is empty', () => '']
])('finds no image by an id %s', async (_, imageId) => {
  await using stored = await openStored()
  await expect(stored.deleteImage(imageId(stored.id))).rejects.toMatchObject(notFound)
  expect((await stored.blobs.open(stored.id))?.id).toBe(stored.id)
})

async function openStored() {
  const directory = await createTemporaryDirectory()
  const database = await openDatabase({ dataDir: join(directory.path, 'data') })
  const blobs = createDiskBlobStore({ directory: join(directory.path, 'images') }, { database })
  const { id } = await blobs.put(imageFromBytes(png, ''), { organizationId: 'default', lifetimeSeconds: 60 })
  const deleteImage = createDeleteImage({ blobs })
  return {
    id,
    blobs,
    deleteImage: (imageId: string, caller = createCall().caller) =>
      deleteImage(create(DeleteImageRequestSchema, { imageId }), createCall({ caller })),
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]()
      await directory[Symbol.asyncDispose]()
    }
  }
}
