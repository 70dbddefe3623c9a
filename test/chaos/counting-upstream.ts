import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface CountingUpstream extends AsyncDisposable {
  /** Base URL for the adapter; ends in /v1. */
  readonly url: string
  /** How often an image was bought for each prompt. */
  readonly calls: ReadonlyMap<string, number>
}

/** An API shaped like OpenAI's that counts what it is asked for, and bills it from the moment at which it has read the request. */
export async function startCountingUpstream(image: Buffer, delayMs: () => number): Promise<CountingUpstream> {
  const calls = new Map<string, number>()
  const server = createServer(async (request, response) => {
    const { prompt } = JSON.parse(Buffer.concat(await request.toArray()).toString()) as { prompt: string }
    calls.set(prompt, (calls.get(prompt) ?? 0) + 1)
    await sleep(delayMs())
    const usage = { input_tokens: 10, output_tokens: 272, total_tokens: 282, input_tokens_details: { text_tokens: 10, image_tokens: 0 } }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ created: 1, data: [{ b64_json: image.toString('base64') }], usage }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    calls,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    }
  }
}
