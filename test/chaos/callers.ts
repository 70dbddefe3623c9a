import { setTimeout as sleep } from 'node:timers/promises'

/** What the callers of a run were told. */
export interface Told {
  /** Ids of tasks that were acknowledged, with their prompts. */
  readonly acknowledged: Map<string, string>
  /** By prompt of a request with a key: the image that was delivered first. */
  readonly images: Map<string, string>
  /** Repetitions under a key that yielded another image than before. */
  readonly changed: string[]
  /** Answers by what they were. */
  readonly answers: Map<string, number>
}

export interface CallersOptions {
  urls: readonly string[]
  apiKey: string
  callbackUrl: string
  count: number
  random(): number
  until: AbortSignal
}

/** Callers that ask for images in every way, one request after the other, and go on whatever becomes of the gateways. */
export async function runCallers(options: CallersOptions): Promise<Told> {
  const told: Told = { acknowledged: new Map(), images: new Map(), changed: [], answers: new Map() }
  let orders = 0
  const post = async (body: object, headers: Record<string, string> = {}) => {
    const url = options.urls[Math.floor(options.random() * options.urls.length)]
    const response = await fetch(`${url}/v1/images/generations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${options.apiKey}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'gpt-image-1', size: '1024x1024', quality: 'low', ...body })
    })
    return { status: response.status, text: await response.text() }
  }
  const count = (what: string) => told.answers.set(what, (told.answers.get(what) ?? 0) + 1)

  const waysToAsk = [
    async (prompt: string) => {
      const { status } = await post({ prompt })
      count(`waiting ${status}`)
    },
    async (prompt: string) => {
      const { status } = await post({ prompt, stream: true, partial_images: 0 })
      count(`streaming ${status}`)
    },
    async (prompt: string) => {
      // As an SDK does it: again, under the same key, until there is an answer that is one.
      for (let tries = 0; tries < 6; tries += 1) {
        const answer = await post({ prompt }, { 'idempotency-key': prompt }).catch(() => undefined)
        count(`keyed ${answer?.status ?? 'lost'}`)
        if (answer?.status === 200) {
          const image = (JSON.parse(answer.text) as { data: { b64_json: string }[] }).data[0]?.b64_json ?? ''
          const before = told.images.get(prompt)
          if (before !== undefined && before !== image) told.changed.push(prompt)
          told.images.set(prompt, image)
          // Once more, to see the same again.
          if (tries > 0) return
        } else if (answer && answer.status !== 503) return
        await sleep(100 + options.random() * 300)
      }
    },
    async (prompt: string) => {
      const { status, text } = await post({ prompt }, { prefer: 'respond-async' })
      count(`asynchronous ${status}`)
      if (status === 202) told.acknowledged.set((JSON.parse(text) as { id: string }).id, prompt)
    },
    async (prompt: string) => {
      const { status, text } = await post({ prompt, callback_url: options.callbackUrl })
      count(`called back ${status}`)
      if (status === 200) told.acknowledged.set((JSON.parse(text) as { task_id: string }).task_id, prompt)
    }
  ]
  const call = async () => {
    while (!options.until.aborted) {
      orders += 1
      const ask = waysToAsk[Math.floor(options.random() * waysToAsk.length)]
      await ask?.(`order ${orders}`).catch(async () => {
        count('connection lost')
        await sleep(50)
      })
    }
  }
  await Promise.all(Array.from({ length: options.count }, call))
  return told
}
