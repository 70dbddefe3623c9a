import type { DueCallback } from './callback-queue.ts'

/** How many deliveries may be under way, so that a receiver that answers slowly, or never, leaves room for the others. */
export interface CallbackSlots {
  free(): number
  /** Receivers that get no more for now. */
  fullReceivers(): string[]
  /** Those of the due callbacks that fit in, in their order. */
  pick(due: readonly DueCallback[]): DueCallback[]
  /** Takes a place. Returns what gives it back. */
  hold(receiver: string): () => void
  /** Resolves when nothing is under way. */
  empty(): Promise<void>
}

export function createCallbackSlots(limits: { total: number; perReceiver: number }): CallbackSlots {
  const held = new Map<string, number>()
  let total = 0
  let waiting: (() => void)[] = []

  return {
    free: () => limits.total - total,
    fullReceivers: () => [...held].filter(([, count]) => count >= limits.perReceiver).map(([receiver]) => receiver),
    pick(due) {
      const counts = new Map(held)
      const fitting = due.filter(({ receiver }) => {
        const count = counts.get(receiver) ?? 0
        if (count >= limits.perReceiver) return false
        counts.set(receiver, count + 1)
        return true
      })
      return fitting.slice(0, limits.total - total)
    },
    hold(receiver) {
      change(receiver, 1)
      return () => change(receiver, -1)
    },
    async empty() {
      if (total > 0) await new Promise<void>((resolve) => waiting.push(resolve))
    }
  }

  function change(receiver: string, by: number): void {
    const count = (held.get(receiver) ?? 0) + by
    if (count === 0) held.delete(receiver)
    else held.set(receiver, count)
    total += by
    if (total > 0) return
    for (const resolve of waiting) resolve()
    waiting = []
  }
}
