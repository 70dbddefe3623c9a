import { join } from 'node:path'
import type { Settings } from '../config.ts'
import type { Logger } from '../log.ts'
import type { BlobStore } from '../storage/blob-store.ts'
import { createDiskBlobStore } from '../storage/blobs/disk-blob-store.ts'
import { lockDataDir } from '../storage/data-dir-lock.ts'
import { type Database, openDatabase } from '../storage/database.ts'
import { findSealed, findUnknownKeys } from '../storage/find-sealed.ts'
import { createFingerprints, type Fingerprints } from '../storage/fingerprints.ts'
import { createLinks, type Links } from '../storage/links.ts'
import { type MasterKey, openMasterKey } from '../storage/master-key.ts'
import { createScratchFiles, type ScratchFiles } from '../storage/scratch-files.ts'
import { createSealer, type Sealer } from '../storage/seal.ts'
import { createSpool, type Spool } from '../storage/spool.ts'
import { createUploads, type Uploads } from '../storage/uploads.ts'

/** Everything that outlasts a request, or holds it while it lasts. */
export interface Storage {
  database: Database
  masterKey: MasterKey
  /** For what belongs to requests and their tasks. */
  sealer: Sealer
  /** For secrets that this server uses towards others. */
  credentialSealer: Sealer
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
  const unknownKeys = await findUnknownKeys(database, keys.ids())
  if (unknownKeys.length > 0) {
    log.warn(
      { keys: unknownKeys.join(' ') },
      'some of what is stored was sealed with master keys that are not configured: add them to previous_master_keys'
    )
  }
  return {
    database,
    masterKey: keys,
    sealer: createSealer({ keys: () => keys.deriveAll('requests') }),
    credentialSealer: createSealer({ keys: () => keys.deriveAll('credentials') }),
    fingerprints: createFingerprints({ keys: () => keys.deriveAll('fingerprints') }),
    links: createLinks({ publicUrl, keys: () => keys.deriveAll('links'), lifetimeSeconds: linkLifetimeSeconds }),
    blobs: await openBlobStore(settings, database, parts),
    scratch: createScratchFiles({ directory: join(dataDir, 'scratch') }),
    spool: createSpool({ directory: join(dataDir, 'spool') }),
    uploads: createUploads({ directory: join(dataDir, 'uploads') })
  }
}

async function openBlobStore({ dataDir, s3 }: Settings, database: Database, parts: AsyncDisposableStack): Promise<BlobStore> {
  if (!s3) return createDiskBlobStore({ directory: join(dataDir, 'images') }, { database })
  // It comes with all of undici, 8 MB that a server without a bucket has no use for.
  const { createS3BlobStore } = await import('../storage/blobs/s3-blob-store.ts')
  return parts.use(createS3BlobStore({ ...s3, directory: join(dataDir, 'outgoing') }, { database }))
}
