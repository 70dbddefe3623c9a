import { imageBase64, sha256 } from './answers.ts'
import { connectGrpc } from './load-grpc.ts'
import { type Expected, type LoadConnection, type LoadJob, type LoadResult, noteError } from './load-job.ts'
import { connectRest } from './load-rest.ts'
import { runTasks } from './load-tasks.ts'
import { quantile } from './quantile.ts'

const job: LoadJob = JSON.parse(process.argv[2] ?? '')
process.stdout.write(`${JSON.stringify(await run(job))}\n`)

/** A closed loop: each connection sends its next request when it has the answer to the one before. */
async function run(job: LoadJob): Promise<LoadResult> {
  const base64 = imageBase64(job.answer.base64Length)
  const expected: Expected = { base64Sha256: sha256(base64), bytesSha256: sha256(Buffer.from(base64, 'base64')) }
  const connections = await Promise.all(
    Array.from({ length: job.connections }, () => (job.protocol === 'rest' ? connectRest(job, expected) : connectGrpc(job, expected)))
  )
  const result: LoadResult = { requests: 0, errors: 0, problems: [], bytes: 0, verified: 0, seconds: 0, p50Ms: 0, p99Ms: 0 }
  const latenciesMs: number[] = []
  const beganAt = performance.now()
  const waiting = connections.map((connection) => loop(connection, job, result, job.tasks ? [] : latenciesMs, beganAt + job.durationMs))
  await Promise.all([...waiting, job.tasks && runTasks(job, job.tasks, result, latenciesMs)])
  result.seconds = (performance.now() - beganAt) / 1000
  result.p50Ms = quantile(latenciesMs, 0.5)
  result.p99Ms = quantile(latenciesMs, 0.99)
  await Promise.all(connections.map((connection) => connection.close()))
  return result
}

async function loop(connection: LoadConnection, job: LoadJob, result: LoadResult, latenciesMs: number[], endsAt: number): Promise<void> {
  do {
    const sentAt = performance.now()
    const verify = result.requests++ % job.verifyEvery === 0
    try {
      const { sizeBytes } = await connection.request(verify)
      latenciesMs.push(performance.now() - sentAt)
      result.bytes += sizeBytes
      if (verify) result.verified += 1
    } catch (error) {
      noteError(result, error)
      // A target that refuses at once must not turn the loop into a busy one.
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  } while (performance.now() < endsAt)
}
