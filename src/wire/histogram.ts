import type { Histogram, Registry } from 'prom-client'

export interface HistogramOptions {
  name: string
  help: string
  /** Upper bounds, the lowest first. */
  buckets: readonly number[]
}

/** Counts the values of one set of labels. */
export type Observe = (value: number) => void

/**
 * A histogram that hands out what counts for a set of labels, which is to be asked for once per set: to find that by its labels for every
 * value, as prom-client's own does, costs several times as much as to count. It is written out as that one is.
 */
export function createHistogram(
  { name, help, buckets }: HistogramOptions,
  registry: Registry
): (labels: Record<string, string>) => Observe {
  const all: Series[] = []
  const valuesOf = ({ labels, counts, sum }: Series) => {
    let count = 0
    const lines = [...buckets, '+Inf'].map((le, index) => {
      count += counts[index] ?? 0
      return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count }
    })
    return [...lines, { metricName: `${name}_sum`, labels, value: sum }, { metricName: `${name}_count`, labels, value: count }]
  }
  const get = async () => ({ name, help, type: 'histogram', aggregator: 'sum', values: all.flatMap(valuesOf) })
  // Of a metric the registry wants no more than this.
  registry.registerMetric({ name, get } as unknown as Histogram)
  return (labels) => {
    const series = { labels, counts: new Array<number>(buckets.length + 1).fill(0), sum: 0 }
    all.push(series)
    return (value) => {
      let index = 0
      while (value > (buckets[index] ?? Number.POSITIVE_INFINITY)) index += 1
      series.counts[index] = (series.counts[index] ?? 0) + 1
      series.sum += value
    }
  }
}

interface Series {
  labels: Record<string, string>
  /** Of each bucket alone, the last one without an upper bound. */
  counts: number[]
  sum: number
}
