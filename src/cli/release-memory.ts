import { performance } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

export interface ReleaseMemoryOptions {
  /** How long the process must have had next to nothing to do, once it has started. */
  afterStartMs: number
  /** The same after each time that it was busy. */
  afterWorkMs: number
}

/**
 * Gives the memory back that a start or work leaves behind, some 20 to 100 MB, when the process has nothing to do. V8's own way is switched
 * off by the start flags: after a few seconds without requests it would also throw away what it has learnt about their objects, and the
 * code that it has compiled with that, so that the next thousands of requests would cost half as much again. Returns what stops it.
 */
export function releaseMemoryWhenQuiet({ afterStartMs, afterWorkMs }: ReleaseMemoryOptions): () => void {
  let before = performance.eventLoopUtilization()
  let neededMs = afterStartMs
  let quietMs = 0
  let isReleased = false
  const timer = setInterval(() => {
    const { utilization, idle, active } = performance.eventLoopUtilization(before)
    before = performance.eventLoopUtilization()
    if (utilization > mostUtilization) {
      quietMs = 0
      isReleased = false
      return
    }
    quietMs += idle + active
    if (isReleased || quietMs < neededMs) return
    collectGarbage()
    isReleased = true
    neededMs = afterWorkMs
    before = performance.eventLoopUtilization()
  }, afterStartMs)
  timer.unref()
  return () => clearInterval(timer)
}

const mostUtilization = 0.02

/** Holds up everything for 50 ms or more. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect: NodeJS.GCFunction = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  // Any other kind keeps the empty pages.
  collect({ type: 'major', flavor: 'last-resort' })
}
