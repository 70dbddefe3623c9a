import type { ClusterGateway } from './gateway-cluster.ts'

export interface DuplicatesOptions {
  keys: number
  /** How often each is sent, at the same time, to one gateway after the other. */
  duplicates: number
  /** How many keys are under way at a time. */
  keysAtATime: number
}

export interface DuplicatesReport {
  /** Answers by status. */
  answers: Record<number, number>
  /** Keys whose duplicates did not all get the answer of one task. */
  divided: string[]
}

/** Sends every request many times at once under a key of its own, its key being its prompt: `key 0` and so on. */
export async function sendDuplicates(gateways: readonly ClusterGateway[], options: DuplicatesOptions): Promise<DuplicatesReport> {
  const report: DuplicatesReport = { answers: {}, divided: [] }
  const keys = Array.from({ length: options.keys }, (_, position) => `key ${position}`).values()
  const send = async (key: string, position: number) => {
    const answer = await gateways[position % gateways.length]?.generate({ prompt: key }, { 'idempotency-key': key })
    await answer?.arrayBuffer()
    const status = answer?.status ?? 0
    report.answers[status] = (report.answers[status] ?? 0) + 1
    return answer?.headers.get('x-atelier-task-id')
  }
  const work = async () => {
    for (const key of keys) {
      const tasks = await Promise.all(Array.from({ length: options.duplicates }, (_, position) => send(key, position)))
      if (new Set(tasks).size > 1) report.divided.push(key)
    }
  }
  await Promise.all(Array.from({ length: options.keysAtATime }, work))
  return report
}
