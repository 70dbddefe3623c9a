import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, extname, join, resolve } from 'node:path'

/** An image on its way to its file. The file appears whole or not at all; whatever else was written is removed in the end. */
export interface ImageFiles extends AsyncDisposable {
  /** Where the latest preview can be looked at while the image is made; relative as the image's path is. */
  readonly previewPath: string
  writeImage(data: Uint8Array): Promise<void>
  /** Resolves to whether the preview is complete. */
  writePreview(data: Uint8Array, isLast: boolean): Promise<boolean>
  /** Puts the image in place of what is at its path. */
  finish(): Promise<void>
}

/** The path is relative to the directory. */
export function createImageFiles(path: string, directory: string): ImageFiles {
  const ending = extname(path)
  const previewPath = join(dirname(path), `${basename(path, ending)}.preview${ending}`)
  const image = createPartialFile(path, directory)
  const preview = createPartialFile(previewPath, directory)
  return {
    previewPath,
    writeImage: image.write,
    async writePreview(data, isLast) {
      await preview.write(data)
      if (isLast) await preview.putInPlace()
      return isLast
    },
    finish: image.putInPlace,
    async [Symbol.asyncDispose]() {
      await image.drop()
      await preview.drop()
      await rm(resolve(directory, previewPath), { force: true })
    }
  }
}

function createPartialFile(path: string, directory: string) {
  const wholePath = resolve(directory, path)
  const partialPath = `${wholePath}.${process.pid}.part`
  let handle: FileHandle | undefined
  const close = async () => {
    const open = handle
    handle = undefined
    await open?.close()
    return open !== undefined
  }
  return {
    async write(data: Uint8Array): Promise<void> {
      try {
        handle ??= await open(partialPath, 'w')
        await handle.writeFile(data)
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
        throw new Error(`${path} cannot be written: ${code}`, { cause: error })
      }
    },
    async putInPlace(): Promise<void> {
      if (await close()) await rename(partialPath, wholePath)
    },
    async drop(): Promise<void> {
      if (await close()) await rm(partialPath, { force: true })
    }
  }
}
