import { performance } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Gives the memory back that a start leaves behind, some 20 MB, as soon as the process has had nothing to do for `quietMs`; once. V8 itself
 * would only do so when much more had been allocated. Returns what stops it.
 */
export function releaseMemoryWhenQuiet(quietMs: number): () => void {
  let before = performance.eventLoopUtilization()
  const timer = setInterval(() => {
    const { utilization } = performance.eventLoopUtilization(before)
    before = performance.eventLoopUtilization()
    // The collection holds up everything for 50 ms or more.
    if (utilization > mostUtilization) return
    clearInterval(timer)
    collectGarbage()
  }, quietMs)
  timer.unref()
  return () => clearInterval(timer)
}

const mostUtilization = 0.02

function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const collect: NodeJS.GCFunction = runInNewContext('gc')
  setFlagsFromString('--no-expose-gc')
  // Any other kind keeps the empty pages.
  collect({ type: 'major', flavor: 'last-resort' })
}
