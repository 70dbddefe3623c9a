import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface HeldUpstream extends AsyncDisposable {
  /** Base URL for the adapter; ends in /v1. */
  readonly url: string
  /** How often an image was asked for with each prompt. */
  readonly calls: ReadonlyMap<string, number>
  /** The key of whoever asked last with each prompt. */
  readonly askedBy: ReadonlyMap<string, string>
  /** Resolves when so many images have been asked for with prompts that begin like this. */
  arrived(prompt: string, count?: number): Promise<void>
  /** Resolves when a call with this prompt was cut off by the client. */
  left(prompt: string): Promise<void>
  /** Answers what is held with this prompt, now and from now on. */
  release(prompt: string): void
}

/**
 * An API shaped like OpenAI's that counts what it is asked for. A prompt that begins with "held" gets its answer when that is
 * released, every other one after the delay; none unless told.
 */
export async function startHeldUpstream({ delayMs = 0 }: { delayMs?: number } = {}): Promise<HeldUpstream> {
  const calls = new Map<string, number>()
  const askedBy = new Map<string, string>()
  const cutOff = new Set<string>()
  const watchers = new Set<() => void>()
  const released = new Set<string>()
  const changed = () => {
    for (const look of [...watchers]) look()
  }
  const server = createServer(async (request, response) => {
    const { prompt } = JSON.parse(Buffer.concat(await request.toArray()).toString()) as { prompt: string }
    calls.set(prompt, (calls.get(prompt) ?? 0) + 1)
    askedBy.set(prompt, (request.headers.authorization ?? '').replace('Bearer ', ''))
    response.on('close', () => {
      if (!response.writableFinished) cutOff.add(prompt)
      changed()
    })
    changed()
    if (prompt.startsWith('held')) await until(() => released.has(prompt))
    await sleep(delayMs)
    const usage = { input_tokens: 10, output_tokens: 272, total_tokens: 282, input_tokens_details: { text_tokens: 10, image_tokens: 0 } }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ created: 1, data: [{ b64_json: pixel }], usage }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  function until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!isSo()) return
        watchers.delete(look)
        resolve()
      }
      watchers.add(look)
      look()
    })
  }

  function countOf(beginning: string): number {
    return calls.entries().reduce((sum, [prompt, count]) => sum + (prompt.startsWith(beginning) ? count : 0), 0)
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    calls,
    askedBy,
    arrived: (prompt, count = 1) => until(() => countOf(prompt) >= count),
    left: (prompt) => until(() => cutOff.has(prompt)),
    release(prompt) {
      released.add(prompt)
      changed()
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    }
  }
}

/** One black pixel. */
export const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
