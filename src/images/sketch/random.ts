import { createHash } from 'node:crypto'

/** A stream of pseudo-random choices that its seed text alone decides. */
export interface Random {
  /** From 0 (inclusive) to 1 (exclusive). */
  next(): number
  between(low: number, high: number): number
  /** A whole number, both ends included. */
  whole(low: number, high: number): number
  chance(probability: number): boolean
  /** Throws a RangeError where the list is empty. */
  pick<T>(list: readonly T[]): T
  shuffle<T>(list: readonly T[]): T[]
  /** An independent stream, so that one part of a drawing may draw more numbers without changing another part. */
  fork(topic: string): Random
}

export function createRandom(seed: string): Random {
  const next = sfc32(createHash('sha256').update(seed).digest())
  const between = (low: number, high: number) => low + next() * (high - low)
  const whole = (low: number, high: number) => Math.floor(between(low, high + 1))
  return {
    next,
    between,
    whole,
    chance: (probability) => next() < probability,
    pick: (list) => itemAt(list, whole(0, list.length - 1)),
    shuffle: (list) => {
      const keyed = list.map((item) => ({ item, key: next() }))
      return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item)
    },
    fork: (topic) => createRandom(`${seed}\n${topic}`)
  }
}

/** The item at an index that wraps around in both directions. Throws a RangeError where the list is empty. */
export function itemAt<T>(list: readonly T[], index: number): T {
  if (list.length === 0) throw new RangeError('nothing to choose from')
  return list[((index % list.length) + list.length) % list.length] as T
}

/** The "small fast counting" generator of PractRand: 128 bits of state, 32-bit arithmetic only, hence the same on every machine. */
function sfc32(state: Buffer): () => number {
  let a = state.readInt32LE(0)
  let b = state.readInt32LE(4)
  let c = state.readInt32LE(8)
  let counter = state.readInt32LE(12)
  return () => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    c |= 0
    return (sum >>> 0) / 4_294_967_296
  }
}
