import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { releaseMemoryWhenQuiet } from '../../src/cli/release-memory.ts'

test('frees what nothing refers to any more, after the start and again after work', async () => {
  const ofStart = garbage()
  await sleep(1)
  const stop = releaseMemoryWhenQuiet({ afterStartMs: 50, afterWorkMs: 100 })
  while (ofStart.deref() !== undefined) await sleep(20)
  const ofWork = garbage()
  const busyUntil = performance.now() + 200
  while (performance.now() < busyUntil);
  while (ofWork.deref() !== undefined) await sleep(20)
  stop()
  expect('gc' in globalThis).toBe(false)
})

function garbage(): WeakRef<object> {
  return new WeakRef(Array.from({ length: 1_000 }, (_, index) => ({ index })))
}
