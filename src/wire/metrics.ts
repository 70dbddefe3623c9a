import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { TaskMeter } from '../tasks/task-meter.ts'
import { createHistogram, type Observe } from './histogram.ts'
import { createTaskMetrics, type TaskMetricsDeps } from './task-metrics.ts'

/** What the server counts, in Prometheus' text format. Labels hold only names from the catalog, configuration and schema. */
export interface Metrics {
  /** `outcome` is "ok" or the error's reason. */
  finished(request: { route: string; provider: string; model: string; outcome: string; durationMs: number; bytes: number }): void
  began(): void
  render(): Promise<{ contentType: string; text: string }>
}

export interface MetricsDeps extends TaskMetricsDeps {
  /** The models that are counted by their names. */
  models: ReadonlySet<string>
}

/** `tasks` counts tasks and calls to providers. */
export function createMetrics(deps: MetricsDeps): Metrics & { readonly tasks: TaskMeter } {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const labelNames = ['route', 'provider', 'model', 'outcome'] as const
  const ended = createTotals<(typeof labelNames)[number]>()
  new Counter({ name: 'atelier_requests_total', help: 'Requests that have ended.', labelNames, registers, collect: ended.fill })
  let inFlight = 0
  new Gauge({
    name: 'atelier_requests_in_flight',
    help: 'Requests that have begun and not ended.',
    registers,
    collect() {
      this.set(inFlight)
    }
  })
  const bytes = createTotals<'route'>()
  new Counter({
    name: 'atelier_response_bytes_total',
    help: 'Bytes of answers and images sent.',
    labelNames: ['route'],
    registers,
    collect: bytes.fill
  })
  const secondsOf = createHistogram(
    {
      name: 'atelier_request_duration_seconds',
      help: 'From the request line to the last byte of the answer.',
      buckets: [0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 600]
    },
    registry
  )
  const observers = new Map<string, Observe>()
  // A provider may be asked for models that the catalog does not know, by any name.
  const nameOf = (model: string) => (model === '' || deps.models.has(model) ? model : 'other')
  const tasks = createTaskMetrics(registry, nameOf, deps)
  return {
    began: () => {
      inFlight += 1
    },
    finished({ route, provider, model: asked, outcome, durationMs, bytes: sizeBytes }) {
      const model = nameOf(asked)
      inFlight -= 1
      const served = `${route} ${provider} ${model}`
      ended.add(`${served} ${outcome}`, () => ({ route, provider, model, outcome }), 1)
      let observe = observers.get(served)
      if (!observe) {
        observe = secondsOf({ route, provider, model })
        observers.set(served, observe)
      }
      observe(durationMs / 1000)
      bytes.add(route, () => ({ route }), sizeBytes)
    },
    tasks,
    async render() {
      await tasks.refresh()
      return { contentType: registry.contentType, text: await registry.metrics() }
    }
  }
}

/** Sums by labels, as they are asked for: a counter would look at the names of all labels, and put their values together, for each request. */
function createTotals<Label extends string>() {
  const totals = new Map<string, { labels: Record<Label, string>; sum: number }>()
  return {
    add(key: string, labelsOf: () => Record<Label, string>, value: number): void {
      let total = totals.get(key)
      if (!total) {
        total = { labels: labelsOf(), sum: 0 }
        totals.set(key, total)
      }
      total.sum += value
    },
    fill(this: Counter<Label>): void {
      this.reset()
      for (const { labels, sum } of totals.values()) this.inc(labels, sum)
    }
  }
}
