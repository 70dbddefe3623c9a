import { createHmac } from 'node:crypto'
import type { CallbackReceiver } from './callback-receiver.ts'
import { type HeldUpstream, pixel } from './held-upstream.ts'

/** A server as its callers see it. */
export interface Reachable {
  url: string
  apiKey: string
}

/** Callers that never pause, and that remember what they were given. */
export interface LastingTraffic {
  /** Ends the callers; resolves when they have their answers. */
  stop(): Promise<void>
  /** How many requests were answered. */
  count(): number
  /** What is wrong with what was given so far, asked of this server: answers, replays under their keys, links, tasks. Empty: nothing. */
  problems(server: Reachable, options?: { keys: 'all' | 'tasks alone' }): Promise<string[]>
  /** What is wrong with the callbacks: each must have come, signed with this secret. */
  callbackProblems(secret: string): Promise<string[]>
}

interface Answered {
  prompt: string
  kind: 'bytes' | 'link' | 'background'
  taskId: string
  /** The image as base64, or the link to it. */
  content: string
}

/** Sends requests for bytes, for links and for the background in turn, eight at a time, to whichever server `next` names. */
export function startLastingTraffic(next: () => Reachable, deps: { upstream: HeldUpstream; receiver: CallbackReceiver }): LastingTraffic {
  const answered: Answered[] = []
  const failed: string[] = []
  let isOver = false
  let begun = 0

  async function call(): Promise<void> {
    while (!isOver) {
      const number = ++begun
      const prompt = `lasting ${number}`
      const kind = (['bytes', 'link', 'background'] as const)[number % 3] ?? 'bytes'
      try {
        answered.push({ prompt, kind, ...(await askUntilAnswered(prompt, kind)) })
      } catch (error) {
        failed.push(`${kind} ${number}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
  }

  /** As clients do whose connection breaks, for example because the server behind it takes its leave: under the same key. */
  async function askUntilAnswered(prompt: string, kind: Answered['kind']): ReturnType<typeof ask> {
    for (let tries = 1; ; tries++) {
      try {
        return await ask(next(), prompt, kind)
      } catch (error) {
        if (!(error instanceof TypeError && error.message === 'fetch failed') || tries === 3) throw error
      }
    }
  }

  async function ask(
    server: Reachable,
    prompt: string,
    kind: Answered['kind']
  ): Promise<Pick<Answered, 'taskId' | 'content'> & { isReplay: boolean }> {
    const body = {
      model: 'gpt-image-1',
      prompt,
      size: '1024x1024',
      quality: 'low',
      ...(kind === 'link' && { response_format: 'url' }),
      ...(kind === 'background' && { callback_url: `${deps.receiver.origin}/${prompt.replace(' ', '-')}` })
    }
    const headers = { 'idempotency-key': prompt, ...(kind === 'background' && { prefer: 'respond-async' }) }
    const response = await send(server, '/v1/images/generations', { body, headers })
    const text = await response.text()
    if (response.status !== (kind === 'background' ? 202 : 200)) throw new Error(`${response.status} ${text}`)
    const { id = '', data = [] } = JSON.parse(text) as { id?: string; data?: { url?: string; b64_json?: string }[] }
    const taskId = id || (response.headers.get('x-atelier-task-id') ?? '')
    return { taskId, content: data[0]?.url ?? data[0]?.b64_json ?? '', isReplay: response.headers.get('x-atelier-replayed') === 'true' }
  }

  async function problemsOf(
    { prompt, kind, taskId, content }: Answered,
    server: Reachable,
    keys: 'all' | 'tasks alone'
  ): Promise<string[]> {
    const found: string[] = []
    const report = (problem: string) => found.push(`${kind} ${prompt}: ${problem}`)
    const task = await read(server, taskId)
    if (task.status !== 'succeeded') report(`the task is ${task.status}: ${JSON.stringify(task)}`)
    else if (!(await leadsToPixel(server, task.result?.data[0]?.url))) report('its link leads nowhere')
    if (kind === 'bytes' && content !== pixel) report('the bytes are others')
    if (keys === 'all') {
      if (kind === 'link' && !(await leadsToPixel(server, content))) report('the link that it was given leads nowhere')
      const again = await ask(server, prompt, kind).catch((error: unknown) => ({ taskId: String(error), isReplay: false }))
      if (again.taskId !== taskId || (kind !== 'background' && !again.isReplay)) report(`its repetition gave ${again.taskId}`)
    }
    const calls = deps.upstream.calls.get(prompt)
    if (calls !== 1) report(`the provider was called ${calls} times`)
    return found
  }

  const callers = Array.from({ length: 8 }, call)

  return {
    count: () => answered.length,
    async stop() {
      isOver = true
      await Promise.all(callers)
    },
    async problems(server, { keys } = { keys: 'all' }) {
      const found = [...failed]
      const waiting = answered.values()
      const check = async () => {
        for (const one of waiting) found.push(...(await problemsOf(one, server, keys)))
      }
      await Promise.all(Array.from({ length: 8 }, check))
      return found
    },
    async callbackProblems(secret) {
      const found: string[] = []
      for (const { prompt } of answered.filter(({ kind }) => kind === 'background')) {
        const [callback] = await deps.receiver.waitFor(`/${prompt.replace(' ', '-')}`, 1)
        const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature } = callback?.headers ?? {}
        const key = Buffer.from(secret.slice('whsec_'.length), 'base64')
        const wanted = createHmac('sha256', key).update(`${id}.${timestamp}.${callback?.body}`).digest('base64')
        if (signature !== `v1,${wanted}`) found.push(`${prompt}: the signature is another one`)
      }
      return found
    }
  }
}

interface SeenTask {
  status: string
  result: { data: { url: string }[] } | null
}

async function read(server: Reachable, taskId: string): Promise<SeenTask> {
  const response = await send(server, `/v1/tasks/${taskId}?wait=20`)
  return (await response.json()) as SeenTask
}

/** By its path: the server may be reached elsewhere since. */
async function leadsToPixel({ url }: Reachable, link: string | undefined): Promise<boolean> {
  const { pathname } = new URL(link ?? '', url)
  const response = await fetch(url + pathname)
  return response.status === 200 && Buffer.from(await response.arrayBuffer()).toString('base64') === pixel
}

function send(server: Reachable, path: string, { body, headers }: { body?: object; headers?: Record<string, string> } = {}) {
  return fetch(server.url + path, {
    method: body ? 'POST' : 'GET',
    headers: { authorization: `Bearer ${server.apiKey}`, ...(body && { 'content-type': 'application/json' }), ...headers },
    ...(body && { body: JSON.stringify(body) })
  })
}
