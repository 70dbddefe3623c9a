import { readdir } from 'node:fs/promises'
import { setImmediate as turn } from 'node:timers/promises'
import { create } from '@bufbuild/protobuf'
import { afterEach, expect, test } from 'vitest'
import {
  CostSchema,
  ImageOutcome,
  Quality,
  ResolvedParametersSchema,
  UsageSchema,
  WarningKind,
  WarningSchema
} from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../../src/call.ts'
import { gatewayError } from '../../src/errors.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import type { ProviderEvent } from '../../src/providers/provider.ts'
import { type Part, splitWork } from '../../src/routing/parts.ts'
import { createSpool } from '../../src/storage/spool.ts'
import { runParts } from '../../src/tasks/run-parts.ts'
import { createCall } from '../support/call.ts'
import { createPipe, type Pipe } from '../support/pipe.ts'
import { outlineOf, readEvents } from '../support/read-events.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

type Script = (part: Part, call: Call) => AsyncIterable<ProviderEvent>

test('gives the images of all parts in order, however fast each one is', async () => {
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { run } = await start(6, 2, async function* (part) {
    const place = part.firstIndex / 2
    await gates[place]?.promise
    yield* image(0, `a${place}`)
    yield { kind: 'image_details', index: 0, revisedPrompt: `revised ${place}` }
    yield* image(1, `b${place}`)
    gates[place - 1]?.resolve()
    yield { kind: 'completed' }
  })
  gates[2]?.resolve()
  const events = await readEvents(run())
  expect(outlineOf(events)).toEqual([
    ...['image 0', 'image_details 0', 'image 1', 'image 2', 'image_details 2', 'image 3', 'image 4', 'image_details 4', 'image 5'],
    'completed'
  ])
  expect(textsOf(events)).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2'])
})

test('runs so many parts at a time, and the next one as soon as the provider is through with one', async () => {
  const running = new Set<number>()
  const started: number[] = []
  let most = 0
  const hold = Promise.withResolvers<void>()
  const { run } = await start(10, 1, async function* (part) {
    started.push(part.firstIndex)
    running.add(part.firstIndex)
    most = Math.max(most, running.size)
    if (part.firstIndex === 0) await hold.promise
    if (part.firstIndex === 9) hold.resolve()
    await turn()
    yield* image(0, `${part.firstIndex}`)
    running.delete(part.firstIndex)
    yield { kind: 'completed' }
  })
  const events = await readEvents(run())
  expect(textsOf(events)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
  expect([most, started]).toEqual([3, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
})

test('takes in what comes before its turn, on the disk where it is large', async () => {
  const { run, directory } = await start(3, 1, async function* (part) {
    if (part.firstIndex === 0) yield { kind: 'image', index: 0, image: imageFromBytes(first, 'image/png') }
    else yield* image(0, 'x'.repeat(part.firstIndex === 1 ? 10 : 200_000))
    ended[part.firstIndex]?.resolve()
    yield { kind: 'completed' }
  })
  const first = createPipe()
  const ended = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const reading = readEvents(run())
  await first.write(Buffer.from('begin'))
  await Promise.all([ended[1]?.promise, ended[2]?.promise])
  expect(await readdir(directory)).toHaveLength(1)
  await first.write(Buffer.from(' end'))
  first.end()
  const events = await reading
  expect(textsOf(events).map((text) => text.length)).toEqual([9, 10, 200_000])
  expect(await readdir(directory)).toEqual([])
})

test('hands on an image that is still coming when its turn comes', async () => {
  const pipes: Pipe[] = [createPipe(), createPipe()]
  const { run } = await start(2, 1, async function* (part) {
    const pipe = pipes[part.firstIndex]
    if (pipe) yield { kind: 'image', index: 0, image: imageFromBytes(pipe, 'image/png') }
    yield { kind: 'completed' }
  })
  const reading = readEvents(run())
  await pipes[1]?.write(Buffer.alloc(100_000, 65))
  await pipes[0]?.write(Buffer.from('first'))
  pipes[0]?.end()
  await pipes[1]?.write(Buffer.alloc(100_000, 66))
  pipes[1]?.end()
  expect(textsOf(await reading)).toEqual(['first', 'A'.repeat(100_000) + 'B'.repeat(100_000)])
})

test('asks a part for its next event only when its image has been read', async () => {
  const early: number[] = []
  const { run } = await start(4, 2, async function* (part) {
    for (const index of [0, 1]) {
      let isRead = false
      async function* bytes() {
        yield Buffer.from('begin')
        await turn()
        yield Buffer.from(' end')
        isRead = true
      }
      yield { kind: 'image', index, image: imageFromBytes(bytes(), 'image/png') }
      if (!isRead) early.push(part.firstIndex + index)
    }
    yield { kind: 'completed' }
  })
  await readEvents(run())
  expect(early).toEqual([])
})

test('names what is missing, and gives the rest', async () => {
  const { run } = await start(5, 1, async function* (part) {
    if (part.firstIndex === 0) throw gatewayError('CONTENT_POLICY_VIOLATION', { problem: 'refused' }, { outcome: 'rejected' })
    if (part.firstIndex === 1) throw gatewayError('OUTCOME_UNKNOWN', { provider: 'p', problem: 'reset' }, { outcome: 'unknown' })
    if (part.firstIndex === 3) yield { kind: 'no_image', index: 0, outcome: ImageOutcome.MODERATED, message: 'withheld' }
    else if (part.firstIndex !== 4) yield* image(0, 'x')
    yield { kind: 'completed' }
  })
  const events = await readEvents(run())
  expect(events.filter(({ kind }) => kind !== 'image')).toEqual([
    { kind: 'no_image', index: 0, outcome: ImageOutcome.MODERATED, message: 'refused' },
    { kind: 'no_image', index: 1, outcome: ImageOutcome.FAILED, message: 'the answer of the provider p was lost: reset' },
    { kind: 'no_image', index: 3, outcome: ImageOutcome.MODERATED, message: 'withheld' },
    { kind: 'no_image', index: 4, outcome: ImageOutcome.FAILED, message: 'the provider returned no image' },
    { kind: 'completed' }
  ])
  expect(outlineOf(events)).toEqual(['no_image 0', 'no_image 1', 'image 2', 'no_image 3', 'no_image 4', 'completed'])
})

test('reports an image as missing that broke off before its turn', async () => {
  const broken = createPipe()
  const isThrough = Promise.withResolvers<void>()
  const { run } = await start(2, 1, async function* (part) {
    if (part.firstIndex === 0) await isThrough.promise
    else yield { kind: 'image', index: 0, image: imageFromBytes(broken, 'image/png') }
    yield* image(0, 'x')
    yield { kind: 'completed' }
  })
  const reading = readEvents(run())
  await broken.write(Buffer.from('half'))
  broken.fail(gatewayError('OUTCOME_UNKNOWN', { provider: 'p', problem: 'cut' }, { outcome: 'unknown' }))
  await turn()
  isThrough.resolve()
  expect(outlineOf(await reading)).toEqual(['image 0', 'no_image 1', 'completed'])
})

test('never loses the images of a part that fails after them', async () => {
  const { run } = await start(4, 2, async function* (part) {
    yield* image(0, `a${part.firstIndex}`)
    if (part.firstIndex === 0) throw new Error('a bug')
    yield* image(1, `b${part.firstIndex}`)
    throw gatewayError('OUTCOME_UNKNOWN', { provider: 'p', problem: 'cut' }, { outcome: 'unknown' })
  })
  const events = await readEvents(run())
  expect(outlineOf(events)).toEqual(['image 0', 'no_image 1', 'image 2', 'image 3', 'completed'])
  expect(events[1]).toMatchObject({ message: 'internal error; the request id finds it in the log' })
})

test.each([
  ['the first error', ['rejected', 'rejected', 'rejected'], 'rejected 0'],
  ['one that may have been billed', ['rejected', 'unknown', 'unknown'], 'unknown 1']
] as const)('throws %s where there is no image at all', async (_, outcomes, message) => {
  const { run } = await start(3, 1, ({ firstIndex }) => {
    const outcome = outcomes[firstIndex] ?? 'rejected'
    return failing(gatewayError('PROVIDER_REJECTED', { problem: `${outcome} ${firstIndex}` }, { outcome }))
  })
  await expect(readEvents(run())).rejects.toThrow(message)
})

test.each([
  [ImageOutcome.MODERATED, 'CONTENT_POLICY_VIOLATION'],
  [ImageOutcome.FAILED, 'PROVIDER_FAILED']
])('throws where every image is missing without an error: %i', async (outcome, reason) => {
  const { run } = await start(2, 1, async function* () {
    yield { kind: 'no_image', index: 0, outcome, message: 'withheld' }
    yield { kind: 'completed' }
  })
  await expect(readEvents(run())).rejects.toMatchObject({ reason, outcome: 'unknown' })
})

test('sums up tokens and costs, and tells each warning once', async () => {
  const warning = create(WarningSchema, { kind: WarningKind.CONVERTED, param: 'seed', message: 'm' })
  const { run } = await start(3, 1, async function* (part) {
    yield* image(0, 'x')
    yield {
      kind: 'completed',
      usage: create(UsageSchema, {
        inputTokens: 10n,
        outputTokens: BigInt(part.firstIndex),
        totalTokens: 11n,
        outputTokensDetails: { textTokens: 1n, imageTokens: 2n }
      }),
      cost: create(CostSchema, { totalMicros: 40_000n, estimated: part.firstIndex === 2 }),
      resolved: create(ResolvedParametersSchema, {
        size: { width: 1024, height: 1024 },
        quality: part.firstIndex === 1 ? Quality.HIGH : Quality.LOW
      }),
      warnings: [warning],
      providerFields: { part: part.firstIndex }
    }
  })
  const events = await readEvents(run())
  expect(events.filter(({ kind }) => kind === 'completed')).toEqual([
    {
      kind: 'completed',
      usage: create(UsageSchema, {
        inputTokens: 30n,
        outputTokens: 3n,
        totalTokens: 33n,
        outputTokensDetails: { textTokens: 3n, imageTokens: 6n }
      }),
      cost: create(CostSchema, { totalMicros: 120_000n, estimated: true }),
      resolved: create(ResolvedParametersSchema, { size: { width: 1024, height: 1024 } }),
      warnings: [warning],
      providerFields: { part: 0 }
    }
  ])
})

test.each([
  ['one call does not tell its cost', false],
  ['one call may have been billed without an answer', true]
])('knows no cost where %s', async (_, fails) => {
  const { run } = await start(2, 1, async function* (part) {
    if (part.firstIndex === 1 && fails) throw gatewayError('OUTCOME_UNKNOWN', { provider: 'p', problem: 'cut' }, { outcome: 'unknown' })
    yield* image(0, 'x')
    yield { kind: 'completed', ...(part.firstIndex === 1 ? {} : { cost: create(CostSchema, { totalMicros: 1n }) }) }
  })
  expect((await readEvents(run())).at(-1)).toEqual({ kind: 'completed' })
})

test('stops every part, and cleans up, when the reader leaves', async () => {
  const stopped: unknown[] = []
  const { run, directory } = await start(3, 1, async function* (part, { signal }) {
    try {
      if (part.firstIndex < 2) yield* image(0, 'x'.repeat(200_000))
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
    } finally {
      stopped.push(part.firstIndex)
    }
    yield { kind: 'completed' }
  })
  for await (const event of run()) {
    expect(event.kind).toBe('image')
    while ((await readdir(directory)).length === 0) await turn()
    break
  }
  expect([stopped.sort(), await readdir(directory)]).toEqual([[0, 1, 2], []])
})

test('ends with the caller’s own end, not with missing images', async () => {
  const gone = new AbortController()
  const { run } = await start(3, 1, async function* (part, { signal }) {
    if (part.firstIndex === 0) yield* image(0, 'x')
    else if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
    signal.throwIfAborted()
    yield { kind: 'completed' }
  })
  const reading = readEvents(run({ signal: gone.signal }))
  await turn()
  gone.abort(gatewayError('CANCELLED', {}))
  await expect(reading).rejects.toMatchObject({ reason: 'CANCELLED' })
})

test('shows partial images and progress of the part whose turn it is', async () => {
  const { run } = await start(2, 1, async function* () {
    yield { kind: 'progress', fraction: 0.5 }
    yield { kind: 'preview', index: 0, previewIndex: 0, image: imageFromBytes(Buffer.from('p'), 'image/png') }
    yield* image(0, 'x')
    yield { kind: 'completed' }
  })
  const events = await readEvents(run())
  expect(outlineOf(events)).toEqual(['progress', 'preview 0', 'image 0', 'image 1', 'completed'])
  expect(events[0]).toEqual({ kind: 'progress', fraction: 0.25 })
})

async function start(n: number, perCall: number, script: Script) {
  const temporary = opened.use(await createTemporaryDirectory())
  const spool = createSpool({ directory: temporary.path })
  const request = create(GenerateImagesRequestSchema, { prompt: 'a fox', n })
  const parts = splitWork({ request, upstreamModel: 'm', n }, perCall)
  const run = (call: Partial<Call> = {}) => runParts(parts, { maxParallel: 3, provider: 'p' }, createCall(call), { spool, attempt: script })
  return { run, directory: temporary.path }
}

function failing(error: Error): AsyncIterable<never> {
  return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) }
}

function* image(index: number, text: string): Iterable<ProviderEvent> {
  yield { kind: 'image', index, image: imageFromBytes(Buffer.from(text), 'image/png') }
}

function textsOf(events: Awaited<ReturnType<typeof readEvents>>): string[] {
  return events.flatMap((event) => (event.kind === 'image' ? [Buffer.from(event.image.bytes ?? []).toString()] : []))
}
