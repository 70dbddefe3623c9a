import { create, type JsonObject } from '@bufbuild/protobuf'
import { afterEach, describe, expect, test } from 'vitest'
import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { GatewayError, gatewayError } from '../../src/errors.ts'
import { sniffMediaType } from '../../src/images/media-type.ts'
import { createLog } from '../../src/log.ts'
import type { AttemptContext, Provider, ProviderEvent, Work } from '../../src/providers/provider.ts'
import { editOf, type TrackedImage } from '../support/input-images.ts'
import { outlineOf, readEvents } from '../support/read-events.ts'
import { hostileAnswerSuite } from './provider-hostile-answers.ts'

/** A vendor's fake, as far as the suite looks at it. */
export interface FakeVendor extends AsyncDisposable {
  url: string
  /** One for each call that came, and how it ended. */
  requests: readonly { ended: Promise<'answered' | 'abandoned'> }[]
}

export interface ProviderUnderTest {
  /** The vendor's fake, which takes `suiteCredential` alone; unset where the adapter calls nobody. */
  startFake?: () => Promise<FakeVendor>
  /** The adapter at an address. */
  connect(baseUrl: string, stack: AsyncDisposableStack): Provider
  /** The provider's name for a model, and how many images one call for it may make. */
  upstreamModel: string
  mostImages: number
  /** What makes the vendor behave: words in the prompt, unless `order` says otherwise. What cannot happen with this vendor is left out. */
  words: {
    /** Refused by a safety system, before or after an image was made. */
    moderated: readonly string[]
    /** Some of several images are withheld by a safety system. */
    partlyModerated?: string
    rateLimited: string
    /** The key or its account is not good enough. */
    keyRefused: readonly string[]
    /** Any other failure that is said as such. */
    failed: readonly string[]
    /** An answer that is broken, or holds nothing. */
    broken: readonly string[]
    /** No answer, and one that stops in the middle of an image. */
    hanging: string
    hangingInside?: string
    /** An image is handed out before the answer is whole. */
    handsOutEarly?: boolean
  }
  /** How it edits; unset where it does not. */
  edits?: {
    /** The provider's name for a model that edits; unset: the same one. */
    upstreamModel?: string
    images: () => Promise<TrackedImage[]>
    mask?: () => Promise<TrackedImage>
  }
  /** Puts a word into a request; unless told, into the prompt. */
  order?: (word: string) => { prompt: string; providerOptions?: JsonObject }
}

/** The key that every fake is told to accept, and a header that the operator set. */
export const suiteCredential = 'suite-credential-0123456789'
export const suiteHeader = 'operators-secret-9876543210'

/** What every adapter keeps, whatever its vendor does. */
export function providerSuite(name: string, under: ProviderUnderTest): void {
  const { words } = under
  let opened = new AsyncDisposableStack()
  afterEach(async () => {
    await opened.disposeAsync()
    opened = new AsyncDisposableStack()
  })

  async function start() {
    const fake = under.startFake && opened.use(await under.startFake())
    const provider = under.connect(fake?.url ?? '', opened)
    const run = (word = '', attempt: Partial<AttemptContext> & { n?: number; providerOptions?: JsonObject } = {}) => {
      const { n = 1, providerOptions, ...context } = attempt
      return provider.run(workOf(under, word, n, providerOptions), { ...suiteAttempt(), ...context })
    }
    return { provider, run, calls: () => fake?.requests ?? [] }
  }

  async function failureOf(events: AsyncIterable<ProviderEvent>): Promise<GatewayError> {
    const thrown: unknown = await readEvents(events).then(
      (read) => `it came to an end: ${outlineOf(read)}`,
      (error: unknown) => error
    )
    expect(thrown).toBeInstanceOf(GatewayError)
    return thrown as GatewayError
  }

  describe(`${name}, as every provider,`, () => {
    test.each([...new Set([1, under.mostImages])])('gives %d images in order where as many are asked for, and completes', async (n) => {
      const { run, calls } = await start()
      const events = await readEvents(run('', { n }))
      const indexes = Array.from({ length: n }, (_, index) => `image ${index}`)
      expect(outlineOf(events).filter((line) => !line.startsWith('image_details'))).toEqual([...indexes, 'completed'])
      for (const event of events) {
        if (event.kind !== 'image' || !event.image.bytes) continue
        expect([sniffMediaType(event.image.bytes), '']).toContain(event.image.mediaType)
      }
      if (under.startFake) expect(calls().length).toBe(1)
    })

    test.each(words.moderated)('says that a safety system refused, which no repetition cures: %s', async (word) => {
      const { run, calls } = await start()
      const error = await failureOf(run(word))
      expect(error).toMatchObject({ reason: 'CONTENT_POLICY_VIOLATION', retryable: false, retryAfterMs: undefined })
      expect(error.moderation).toEqual({ stage: expect.stringMatching(/^(input|output|unknown)$/), categories: expect.any(Array) })
      expect(calls().length).toBe(under.startFake ? 1 : 0)
    })

    const { partlyModerated } = words
    test.runIf(partlyModerated !== undefined)('gives what was made where a safety system withheld a part', async () => {
      const { run } = await start()
      const events = await readEvents(run(partlyModerated, { n: under.mostImages }))
      const missing = events.filter((event) => event.kind === 'no_image')
      expect(missing.length).toBeGreaterThan(0)
      expect(missing.every(({ outcome }) => outcome === ImageOutcome.MODERATED)).toBe(true)
      expect(missing.length + events.filter(({ kind }) => kind === 'image').length).toBe(under.mostImages)
      expect(events.at(-1)?.kind).toBe('completed')
    })

    test('says how long to wait where there were too many calls', async () => {
      const { run, calls } = await start()
      const error = await failureOf(run(words.rateLimited))
      expect(error).toMatchObject({ reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryable: true })
      expect(error.retryAfterMs).toBeGreaterThan(0)
      expect(calls().length).toBe(under.startFake ? 1 : 0)
    })

    test.each(words.keyRefused)("keeps trouble with the operator's key apart from the caller's request: %s", async (word) => {
      const { run } = await start()
      expect(await failureOf(run(word))).toMatchObject({ reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected', retryable: false })
    })

    test.each([...words.failed, ...words.broken])('states what became of the call that fails, and makes it once: %s', async (word) => {
      const { run, calls } = await start()
      const error = await failureOf(run(word))
      expect(error.outcome).toMatch(/^(rejected|unknown)$/)
      expect([error.outcome, error.retryable]).not.toEqual(['unknown', true])
      expect(calls().length).toBe(under.startFake ? 1 : 0)
    })

    test.each(words.broken)('takes no broken answer for a success, nor for a refusal: %s', async (word) => {
      const { run } = await start()
      const error = await failureOf(run(word))
      expect(['OUTCOME_UNKNOWN', 'PROVIDER_FAILED']).toContain(error.reason)
      expect(error.outcome).toBe('unknown')
    })

    test.each([words.hanging, ...(words.hangingInside ? [words.hangingInside] : [])])(
      'stops at once when it is cancelled: %s',
      async (word) => {
        const { run, calls } = await start()
        const caller = new AbortController()
        const failure = failureOf(run(word, { signal: caller.signal }))
        if (under.startFake) await expect.poll(() => calls().length).toBe(1)
        caller.abort()
        expect(await failure).toMatchObject({ reason: 'CANCELLED', outcome: under.startFake ? 'unknown' : 'rejected', retryable: false })
        if (under.startFake) expect(await calls()[0]?.ended).toBe('abandoned')
      }
    )

    test('says why it was stopped where the signal knows', async () => {
      const { run, calls } = await start()
      const caller = new AbortController()
      const failure = failureOf(run(words.hanging, { signal: caller.signal }))
      if (under.startFake) await expect.poll(() => calls().length).toBe(1)
      caller.abort(gatewayError('DEADLINE_EXCEEDED', { limitSeconds: 3 }))
      expect(await failure).toMatchObject({ reason: 'DEADLINE_EXCEEDED', fields: { limitSeconds: 3 } })
    })

    test('calls nobody for a caller who has gone', async () => {
      const { run, calls } = await start()
      const error = await failureOf(run('', { signal: AbortSignal.abort() }))
      expect(error).toMatchObject({ reason: 'CANCELLED', outcome: under.startFake ? 'not_sent' : 'rejected' })
      expect(calls().length).toBe(0)
    })

    test('stops at its time limit', async () => {
      const { run, calls } = await start()
      expect(await failureOf(run(words.hanging, { timeoutMs: 100 }))).toMatchObject({ reason: 'DEADLINE_EXCEEDED' })
      if (under.startFake) expect(await calls()[0]?.ended).toBe('abandoned')
    })

    test.runIf(words.handsOutEarly)('closes the connection when its events are left', async () => {
      const { run, calls } = await start()
      for await (const event of run(words.hangingInside)) {
        expect(event.kind).toBe('image')
        break
      }
      expect(await calls()[0]?.ended).toBe('abandoned')
    })

    const { edits } = under
    test.runIf(edits !== undefined)('edits images, which it reads once and lets go of', async () => {
      const { provider, calls } = await start()
      const images = (await edits?.images()) ?? []
      const mask = await edits?.mask?.()
      const events = await readEvents(provider.run(editWorkOf(under, '', images, mask), suiteAttempt()))
      expect(outlineOf(events).filter((line) => !line.startsWith('image_details'))).toEqual(['image 0', 'completed'])
      expect([...images, ...(mask ? [mask] : [])].map(({ opened, reading }) => [opened, reading])).toEqual(
        Array(images.length + (mask ? 1 : 0)).fill([1, 0])
      )
      if (under.startFake) expect(calls().length).toBe(1)
    })

    test.runIf(edits !== undefined)('says of an edit what it says of a generation', async () => {
      const { provider } = await start()
      const images = (await edits?.images()) ?? []
      const failed = (word: string) => failureOf(provider.run(editWorkOf(under, word, images), suiteAttempt()))
      expect(await failed(words.rateLimited)).toMatchObject({ reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected' })
      for (const word of words.moderated) expect(await failed(word)).toMatchObject({ reason: 'CONTENT_POLICY_VIOLATION' })
      for (const word of words.broken) expect((await failed(word)).outcome).toBe('unknown')
      expect(images.every(({ reading }) => reading === 0)).toBe(true)
    })

    test.runIf(edits !== undefined)('stops an edit when it is cancelled', async () => {
      const { provider, calls } = await start()
      const caller = new AbortController()
      const images = (await edits?.images()) ?? []
      const run = provider.run(editWorkOf(under, words.hanging, images), { ...suiteAttempt(), signal: caller.signal })
      const failure = failureOf(run)
      if (under.startFake) await expect.poll(() => calls().length).toBe(1)
      caller.abort()
      expect(await failure).toMatchObject({ reason: 'CANCELLED' })
      if (under.startFake) expect(await calls()[0]?.ended).toBe('abandoned')
      expect(images.every(({ reading }) => reading === 0)).toBe(true)
    })

    test('understands any option, or names options that are no fields of the contract', async () => {
      const { provider } = await start()
      const { understands } = provider
      if (understands === 'any option') return
      const names = typeof understands === 'function' ? understands(under.upstreamModel) : understands
      const fields = GenerateImagesRequestSchema.fields.map((field) => field.name)
      expect(names.filter((option) => option === '' || fields.includes(option))).toEqual([])
      expect(new Set(names).size).toBe(names.length)
    })

    test("shows a stranger's key to nobody", async () => {
      const { run } = await start()
      if (!under.startFake) return
      const error = await failureOf(run('', { credential: 'a-key-of-somebody-else-77' }))
      expect(error).toMatchObject({ reason: 'PROVIDER_KEY_REFUSED', outcome: 'rejected' })
      expect(everythingIn(error)).not.toContain('somebody-else')
    })
  })

  if (under.startFake) hostileAnswerSuite(name, under)
}

export function workOf(under: ProviderUnderTest, word: string, n: number, providerOptions?: JsonObject): Work {
  const order = word === '' ? { prompt: 'a fox' } : (under.order?.(word) ?? { prompt: `a fox ${word}` })
  const options = { ...(order as { providerOptions?: JsonObject }).providerOptions, ...providerOptions }
  const request = create(GenerateImagesRequestSchema, {
    prompt: order.prompt,
    ...(Object.keys(options).length > 0 && { providerOptions: options })
  })
  return { request, upstreamModel: under.upstreamModel, n }
}

function editWorkOf(under: ProviderUnderTest, word: string, images: readonly TrackedImage[], mask?: TrackedImage): Work {
  const upstreamModel = under.edits?.upstreamModel ?? under.upstreamModel
  return { ...workOf(under, word, 1), upstreamModel, inputs: editOf(images, mask ? { mask } : {}) }
}

export function suiteAttempt(): AttemptContext {
  return {
    credential: suiteCredential,
    signal: new AbortController().signal,
    timeoutMs: 10_000,
    log: createLog({ level: 'silent' })
  }
}

/** All that an error holds, its causes included. */
export function everythingIn(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return `${error.message} ${error.stack} ${JSON.stringify(Object.entries(error))} ${everythingIn(error.cause)}`
}
