import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { imageBase64, sha256 } from './answers.ts'
import { type LoadJob, type LoadResult, noteError, type TaskLoad } from './load-job.ts'

/** Hands in tasks, several at the same time, then asks for each of them until it is final, and compares the images of some. */
export async function runTasks(job: LoadJob, tasks: TaskLoad, result: LoadResult, latenciesMs: number[]): Promise<void> {
  await sleep(tasks.beginMs)
  const { origin, pathname } = new URL(job.url)
  const pool = new Pool(origin, { connections: tasks.submitters, allowH2: false, headersTimeout: 0, bodyTimeout: 0 })
  const server: Server = { pool, headers: job.headers }
  const ids: string[] = []
  const body = JSON.stringify({ model: tasks.model, prompt: 'a cat on a mat', n: tasks.answer.images })
  await eachOf(tasks.count, tasks.submitters, result, async () => {
    result.requests += 1
    const sentAt = performance.now()
    const { status, text } = await ask(server, { method: 'POST', path: pathname, body })
    latenciesMs.push(performance.now() - sentAt)
    if (status !== 202) throw new Error(`status ${status} for a task: ${text.slice(0, 300)}`)
    ids.push(JSON.parse(text).id)
  })
  const expected = sha256(Buffer.from(imageBase64(tasks.answer.base64Length), 'base64'))
  await eachOf(ids.length, tasks.submitters, result, async (index) => {
    const urls = await imagesOf(server, ids[index] ?? '', tasks)
    if (index % job.verifyEvery !== 0) return
    for (const url of urls) await compare(server, url, expected)
    result.verified += 1
  })
  await pool.destroy()
}

interface Server {
  pool: Pool
  headers: Record<string, string>
}

async function eachOf(count: number, atOnce: number, result: LoadResult, act: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const work = async () => {
    while (next < count) await act(next++).catch((error: unknown) => noteError(result, error))
  }
  await Promise.all(Array.from({ length: atOnce }, work))
}

/** Waits for the task to succeed. */
async function imagesOf(server: Server, id: string, { answer }: TaskLoad): Promise<string[]> {
  for (;;) {
    const { status, text } = await ask(server, { method: 'GET', path: `/v1/tasks/${id}?wait=60` })
    if (status !== 200) throw new Error(`status ${status} for task ${id}: ${text.slice(0, 300)}`)
    const task: { status: string; error: unknown; result: { data: { url: string }[] } | null } = JSON.parse(text)
    if (task.status === 'queued' || task.status === 'running') continue
    if (task.status !== 'succeeded') throw new Error(`a task is ${task.status}: ${JSON.stringify(task.error)}`)
    const urls = task.result?.data.map(({ url }) => url) ?? []
    if (urls.length !== answer.images) throw new Error(`a task has ${urls.length} images instead of ${answer.images}`)
    return urls
  }
}

async function compare({ pool }: Server, url: string, expected: string): Promise<void> {
  const { pathname, search } = new URL(url)
  const { statusCode, body } = await pool.request({ method: 'GET', path: pathname + search })
  const image = await body.bytes()
  if (statusCode !== 200) throw new Error(`status ${statusCode} for the image of a task`)
  if (sha256(image) !== expected) throw new Error('the image of a task is not the one that the upstream gave')
}

async function ask(
  { pool, headers }: Server,
  { method, path, body }: { method: 'GET' | 'POST'; path: string; body?: string }
): Promise<{ status: number; text: string }> {
  const sent = { ...headers, ...(body !== undefined && { 'content-type': 'application/json', prefer: 'respond-async' }) }
  const answer = await pool.request({ method, path, headers: sent, ...(body !== undefined && { body }) })
  return { status: answer.statusCode, text: await answer.body.text() }
}
