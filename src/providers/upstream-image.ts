import { gatewayError } from '../errors.ts'
import type { ImageBody } from '../images/image-body.ts'
import { JsonError } from '../images/read-json.ts'

/** The same image, whose source breaks off with an error that says what is known about the upstream call. */
export function withUpstreamErrors(image: ImageBody, provider: string): ImageBody {
  const rethrow = (error: unknown): never => {
    throw toUpstreamError(error, provider)
  }
  return {
    ...image,
    read: (as) => {
      const source = image.read(as)[Symbol.asyncIterator]()
      return {
        [Symbol.asyncIterator]: () => ({
          next: () => source.next().catch(rethrow),
          return: async () => (await source.return?.()) ?? { done: true, value: undefined }
        })
      }
    }
  }
}

/** Broken JSON and broken base64, as what they mean for the call; any other error as it is. */
export function toUpstreamError(error: unknown, provider: string): unknown {
  const what = error instanceof JsonError ? 'JSON' : error instanceof SyntaxError ? 'image' : undefined
  if (what === undefined) return error
  const problem = `its ${what} is broken: ${(error as Error).message}`
  return gatewayError('OUTCOME_UNKNOWN', { provider, problem }, { outcome: 'unknown', cause: error })
}
