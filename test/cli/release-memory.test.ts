import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { releaseMemoryWhenQuiet } from '../../src/cli/release-memory.ts'

test('frees what nothing refers to any more', async () => {
  const left = new WeakRef(Array.from({ length: 1_000 }, (_, index) => ({ index })))
  await sleep(1)
  const stop = releaseMemoryWhenQuiet(10)
  while (left.deref() !== undefined) await sleep(20)
  stop()
  expect('gc' in globalThis).toBe(false)
})
