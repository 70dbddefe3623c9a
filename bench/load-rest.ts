import { Client, type Dispatcher } from 'undici'
import { sha256 } from './answers.ts'
import type { Expected, LoadConnection, LoadJob } from './load-job.ts'

/** A connection that posts to the images route and reads the answer chunk by chunk. */
export async function connectRest(job: LoadJob, expected: Expected): Promise<LoadConnection> {
  const { origin, pathname } = new URL(job.url)
  const client = new Client(origin, { allowH2: false, headersTimeout: 0, bodyTimeout: 0 })
  const form = job.answer.base64Length === 0 ? 'url' : 'b64_json'
  const body = JSON.stringify({ model: 'dall-e-2', prompt: 'a cat on a mat', n: job.answer.images, response_format: form })
  const headers = { 'content-type': 'application/json', ...job.headers }
  return {
    request: (verify) =>
      new Promise((resolve, reject) => {
        client.dispatch({ method: 'POST', path: pathname, headers, body }, new AnswerReader({ job, expected, verify, resolve, reject }))
      }),
    close: () => client.destroy()
  }
}

interface AnswerReaderOptions {
  job: LoadJob
  expected: Expected
  verify: boolean
  resolve(result: { sizeBytes: number }): void
  reject(error: Error): void
}

class AnswerReader implements Dispatcher.DispatchHandler {
  readonly #options: AnswerReaderOptions
  readonly #kept: Uint8Array[] = []
  #status = 0
  #declaredBytes: number | undefined
  #sizeBytes = 0
  #last: Uint8Array = new Uint8Array()

  constructor(options: AnswerReaderOptions) {
    this.#options = options
  }

  onRequestStart(): void {}

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>
  ): void {
    this.#status = status
    this.#declaredBytes = headers['content-length'] === undefined ? undefined : Number(headers['content-length'])
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Uint8Array): void {
    const { pauseMs } = this.#options.job
    if (this.#sizeBytes === 0 && pauseMs > 0) {
      controller.pause()
      setTimeout(() => controller.resume(), pauseMs)
    }
    this.#sizeBytes += chunk.length
    this.#last = chunk
    if (this.#options.verify || this.#status !== 200) this.#kept.push(chunk)
  }

  onResponseEnd(): void {
    const problem = this.#problem()
    if (problem === undefined) this.#options.resolve({ sizeBytes: this.#sizeBytes })
    else this.#options.reject(new Error(problem))
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#options.reject(error)
  }

  #problem(): string | undefined {
    const { answer } = this.#options.job
    if (this.#status !== 200) return `status ${this.#status}: ${Buffer.concat(this.#kept).toString('utf8').slice(0, 300)}`
    if (this.#declaredBytes !== undefined && this.#declaredBytes !== this.#sizeBytes)
      return `${this.#sizeBytes} of ${this.#declaredBytes} bytes`
    if (this.#sizeBytes <= answer.images * answer.base64Length) return `only ${this.#sizeBytes} bytes`
    if (Buffer.from(this.#last).toString('latin1').trimEnd().at(-1) !== '}') return 'the answer does not end like a JSON object'
    return this.#options.verify ? this.#difference() : undefined
  }

  #difference(): string | undefined {
    const { answer } = this.#options.job
    const { data }: { data: { b64_json?: string; url?: string }[] } = JSON.parse(Buffer.concat(this.#kept).toString('utf8'))
    if (data.length !== answer.images) return `${data.length} images instead of ${answer.images}`
    const isRight = ({ b64_json, url }: (typeof data)[number]) =>
      answer.base64Length === 0
        ? url?.startsWith('https://images.example.com/')
        : sha256(b64_json ?? '') === this.#options.expected.base64Sha256
    return data.every(isRight) ? undefined : 'an image is not the one that the upstream gave'
  }
}
