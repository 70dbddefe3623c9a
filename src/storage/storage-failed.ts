import { GatewayError, gatewayError } from '../errors.ts'

/** `STORAGE_FAILED` with a problem that is fit for callers; the cause is for the log. */
export function storageFailed(problem: string, cause?: unknown): GatewayError {
  return gatewayError('STORAGE_FAILED', { problem }, cause === undefined ? {} : { cause })
}

/** Waits for the file system, whose errors name paths: they become `STORAGE_FAILED` in words that don't. */
export async function onDisk<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw diskFailed(error)
  }
}

/** Waits for the database; its errors become `STORAGE_FAILED`. */
export async function inDatabase<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (error) {
    throw storageFailed('the database failed', error)
  }
}

/** A `STORAGE_FAILED` that concerns an image which was made and may be billed: its outcome is unknown. Other errors stay what they are. */
export function afterPayment(error: unknown): unknown {
  if (!(error instanceof GatewayError) || error.reason !== 'STORAGE_FAILED') return error
  return gatewayError('STORAGE_FAILED', { problem: error.fields.problem ?? '' }, { outcome: 'unknown', cause: error.cause })
}

/** What an error of the file system is to a caller. */
export function diskFailed(error: unknown): GatewayError {
  const code = codeOf(error)
  return storageFailed(problems[code] ?? `the file system answered ${code}`, error)
}

/** Undefined where there is no such file. */
export async function ignoreMissing<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

const problems: Record<string, string> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file system takes no file this large',
  EROFS: 'the file system is read-only',
  EACCES: 'the file system denied access',
  EPERM: 'the file system denied access',
  EMFILE: 'the server has too many files open',
  ENFILE: 'the server has too many files open',
  EIO: 'the disk failed',
  ENOENT: 'the file is not there any more'
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'an unknown error'
}
