import { imageFromBytes } from '../../src/images/image-body.ts'
import type { AttemptContext, Provider, ProviderEvent, Work } from '../../src/providers/provider.ts'
import { png } from './blob-contents.ts'

/** A provider in this process that does what the test says, and remembers what it was asked for. */
export interface StandIn extends Provider {
  /** As in `run attempt_1`, `resume job-1`, `cancel job-1`; newest last. */
  readonly asked: string[]
  /** Resolves when it has been asked for so much in all. */
  askedFor(count: number): Promise<void>
}

export interface StandInOptions extends Partial<Omit<Provider, 'run' | 'resume' | 'cancel'>> {
  run(work: Work, attempt: AttemptContext, call: number): AsyncIterable<ProviderEvent>
  resume?(jobId: string, work: Work, attempt: AttemptContext): AsyncIterable<ProviderEvent>
  cancel?(jobId: string, attempt: AttemptContext): Promise<'cancelled' | 'too_late'>
}

export function createStandIn({ run, resume, cancel, ...options }: StandInOptions): StandIn {
  const asked: string[] = []
  const waiting: { count: number; resolve: () => void }[] = []
  let calls = 0
  const note = (what: string) => {
    asked.push(what)
    for (const { count, resolve } of waiting) if (asked.length >= count) resolve()
  }
  return {
    recovery: 'opaque',
    understands: 'any option',
    trustedOrigins: [],
    ...options,
    asked,
    askedFor: (count) =>
      new Promise((resolve) => {
        waiting.push({ count, resolve })
        if (asked.length >= count) resolve()
      }),
    run(work, attempt) {
      note(`run ${attempt.idempotencyKey}`)
      return run(work, attempt, calls++)
    },
    ...(resume && {
      resume(jobId: string, work: Work, attempt: AttemptContext) {
        note(`resume ${jobId}`)
        return resume(jobId, work, attempt)
      }
    }),
    ...(cancel && {
      cancel(jobId: string, attempt: AttemptContext) {
        note(`cancel ${jobId}`)
        return cancel(jobId, attempt)
      }
    })
  }
}

/** What a provider gives that made every image it was asked for. */
export async function* delivered({ n }: Pick<Work, 'n'>): AsyncGenerator<ProviderEvent, void, undefined> {
  for (let index = 0; index < n; index += 1) yield { kind: 'image', index, image: imageFromBytes(png(2_000), 'image/png') }
  yield { kind: 'completed' }
}

/** What a provider gives from which nothing comes, not even when it is left: a crash has cut off the call. */
export const never: AsyncIterable<never> = source(() => new Promise<never>(() => undefined))

/** What a provider gives from which nothing comes until the call is left, as a connection that is cut then. */
export function untilLeft({ signal }: Pick<AttemptContext, 'signal'>): AsyncIterable<never> {
  return source(
    () =>
      new Promise<never>((_, reject) => {
        const leave = () => reject(signal.reason)
        if (signal.aborted) leave()
        signal.addEventListener('abort', leave, { once: true })
      })
  )
}

/** What a provider gives that fails. */
export function failing(error: unknown): AsyncIterable<never> {
  return source(() => Promise.reject(error))
}

function source(next: () => Promise<never>): AsyncIterable<never> {
  return { [Symbol.asyncIterator]: () => ({ next }) }
}
