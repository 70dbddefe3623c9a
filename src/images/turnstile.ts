/** Lets a bounded number of tasks run at a time; the others wait in the order in which they came. */
export interface Turnstile {
  /** Runs a task when it is its turn. Throws the signal's reason where that aborts while it waits. */
  pass<T>(task: () => Promise<T>, signal: AbortSignal): Promise<T>
}

export function createTurnstile(places: number): Turnstile {
  let free = places
  const waiting: PromiseWithResolvers<void>[] = []

  async function enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (free > 0) {
      free--
      return
    }
    const turn = Promise.withResolvers<void>()
    const onAbort = () => {
      const place = waiting.indexOf(turn)
      if (place === -1) return
      waiting.splice(place, 1)
      turn.reject(signal.reason)
    }
    waiting.push(turn)
    signal.addEventListener('abort', onAbort, { once: true })
    await turn.promise.finally(() => signal.removeEventListener('abort', onAbort))
  }

  function leave(): void {
    const next = waiting.shift()
    if (next) next.resolve()
    else free++
  }

  return {
    async pass(task, signal) {
      await enter(signal)
      try {
        return await task()
      } finally {
        leave()
      }
    }
  }
}
