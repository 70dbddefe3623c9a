import type { Work } from '../providers/provider.ts'

/** One of the calls that a request comes to. */
export interface Part {
  work: Work
  /** Place of its first image among all images of the request. */
  firstIndex: number
}

/**
 * Divides work into calls of at most so many images, in order. Each further image of a call counts a given seed up by one at those that
 * honour it, so each further call begins where the one before it ended; behind the highest seed comes 0.
 */
export function splitWork(work: Work, maxImagesPerCall: number): Part[] {
  const parts: Part[] = []
  for (let firstIndex = 0; firstIndex < work.n; firstIndex += maxImagesPerCall) {
    const n = Math.min(maxImagesPerCall, work.n - firstIndex)
    const { seed } = work.request
    const request = seed === undefined ? work.request : { ...work.request, seed: (seed + firstIndex) % 2 ** 32 }
    parts.push({ work: { ...work, request, n }, firstIndex })
  }
  return parts
}
