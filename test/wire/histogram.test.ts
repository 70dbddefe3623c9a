import { Histogram, Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createHistogram } from '../../src/wire/histogram.ts'

test("is written out as prom-client's own, to the letter", async () => {
  const options = { name: 'a_seconds', help: 'How long it took.', buckets: [0.5, 1, 2.5] }
  const [ours, theirs] = [new Registry(), new Registry()]
  const observerOf = createHistogram(options, ours)
  const reference = new Histogram({ ...options, labelNames: ['route', 'model'], registers: [theirs] })
  expect(await ours.metrics()).toBe(await theirs.metrics())
  for (const labels of [
    { route: '/v1/a', model: '' },
    { route: '/v1/a', model: 'quoted "b"' }
  ]) {
    const observe = observerOf(labels)
    for (const value of [0, 0.5, 0.6, 1, 2.5, 2.6, 700]) {
      observe(value)
      reference.observe(labels, value)
    }
  }
  expect(await ours.metrics()).toBe(await theirs.metrics())
})
