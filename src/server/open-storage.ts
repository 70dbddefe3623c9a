import { join } from 'node:path'
import type { Settings } from '../config.ts'
import type { Logger } from '../log.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import { createDiskBlobStore } from '../storage/blobs/disk-blob-store.ts'
import { createS3BlobStore } from '../storage/blobs/s3-blob-store.ts'
import { lockDataDir } from '../storage/data-dir-lock.ts'
import { type Database, openDatabase } from '../storage/database.ts'
import { findSealed, findUnknownKeys } from '../storage/find-sealed.ts'
import { createFingerprints, type Fingerprints } from '../storage/fingerprints.ts'
import { createLinks, type Links } from '../storage/links.ts'
import { openMasterKey } from '../storage/master-key.ts'
import { createScratchFiles, type ScratchFiles } from '../storage/scratch-files.ts'
import { createSealer, type Sealer } from '../storage/seal.ts'
import { createSpool, type Spool } from '../storage/spool.ts'
import { createUploads, type Uploads } from '../storage/uploads.ts'

/** Everything that outlasts a request, or holds it while it lasts. */
export interface Storage {
  database: Database
  sealer: Sealer
  fingerprints: Fingerprints
  links: Links
  blobs: BlobStore
  scratch: ScratchFiles
  spool: Spool
  uploads: Uploads
}

/** Opens what the settings name; `parts` owns it. Throws where the data directory, a key, the database or the bucket cannot be used. */
export async function openStorage(settings: Settings, publicUrl: string, parts: AsyncDisposableStack, log: Logger): Promise<Storage> {
  const { dataDir, databaseUrl, masterKey, previousMasterKeys, linkLifetimeSeconds } = settings
  // Files on their way lie there with PostgreSQL too.
  parts.use(await lockDataDir(dataDir))
  const database = parts.use(await openDatabase({ dataDir, ...(databaseUrl !== undefined && { databaseUrl }) }))
  const keys = await openMasterKey(
    { dataDir, previousMasterKeys, ...(masterKey !== undefined && { masterKey }) },
    { findSealed: () => findSealed(database) }
  )
  const unknownKeys = await findUnknownKeys(database, keys.deriveAll('requests'))
  if (unknownKeys.length > 0) {
    log.warn(
      { keys: unknownKeys.join(' ') },
      'some of what is stored was sealed with master keys that are not configured: add them to previous_master_keys'
    )
  }
  const [linkKey, ...previousLinkKeys] = keys.deriveAll('links')
  return {
    database,
    sealer: createSealer({ keys: keys.deriveAll('requests') }),
    fingerprints: createFingerprints({ keys: keys.deriveAll('fingerprints') }),
    links: createLinks({
      publicUrl,
      signingKey: linkKey.key,
      previousSigningKeys: previousLinkKeys.map(({ key }) => key),
      lifetimeSeconds: linkLifetimeSeconds
    }),
    blobs: openBlobStore(settings, database, parts),
    scratch: createScratchFiles({ directory: join(dataDir, 'scratch') }),
    spool: createSpool({ directory: join(dataDir, 'spool') }),
    uploads: createUploads({ directory: join(dataDir, 'uploads') })
  }
}

function openBlobStore({ dataDir, s3 }: Settings, database: Database, parts: AsyncDisposableStack): BlobStore {
  if (!s3) return createDiskBlobStore({ directory: join(dataDir, 'images') }, { database })
  return parts.use(createS3BlobStore({ ...s3, directory: join(dataDir, 'outgoing') }, { database }))
}
