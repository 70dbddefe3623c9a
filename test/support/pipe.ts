/** A source of chunks that a test feeds by hand. */
export interface Pipe extends AsyncIterable<Uint8Array> {
  /** Resolves when the chunk has been taken and the next one is asked for, or when the reader has left. */
  write(chunk: Uint8Array): Promise<void>
  end(): void
  fail(error: unknown): void
  /** Resolves when the reader has left. */
  readonly left: Promise<void>
}

export function createPipe(): Pipe {
  const left = Promise.withResolvers<void>()
  let asked = Promise.withResolvers<void>()
  let answer: PromiseWithResolvers<IteratorResult<Uint8Array>> | undefined
  let final: (() => Promise<IteratorResult<Uint8Array>>) | undefined

  const finish = (last: () => Promise<IteratorResult<Uint8Array>>) => {
    final = last
    answer?.resolve(last())
    answer = undefined
  }
  return {
    async write(chunk) {
      await Promise.race([asked.promise, left.promise])
      const pending = answer
      answer = undefined
      asked = Promise.withResolvers()
      pending?.resolve({ done: false, value: chunk })
      await Promise.race([asked.promise, left.promise])
    },
    end: () => finish(() => Promise.resolve({ done: true, value: undefined })),
    fail: (error) => finish(() => Promise.reject(error)),
    left: left.promise,
    [Symbol.asyncIterator]: () => ({
      next() {
        if (final) return final()
        answer = Promise.withResolvers()
        asked.resolve()
        return answer.promise
      },
      async return() {
        left.resolve()
        finish(() => Promise.resolve({ done: true, value: undefined }))
        return { done: true, value: undefined }
      }
    })
  }
}
