import { create } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { ImageOutcome, ResponseFormat, WarningKind, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import { gatewayError } from '../../src/errors.ts'
import { type GenerationEvent, isImageBody } from '../../src/events.ts'
import { imageFromBytes, readWhole } from '../../src/images/image-body.ts'
import type { ProviderEvent } from '../../src/providers/provider.ts'
import { png } from '../support/blob-contents.ts'
import { createCall } from '../support/call.ts'
import { createStandIn, failing } from '../support/stand-in-provider.ts'
import { createTaskMachine, type MachineProcess, orderOf } from '../support/task-machine.ts'

/** Everything that a request yields, images as their bytes in hexadecimal and links without their signatures; the error at the end. */
async function allOf(events: AsyncIterable<GenerationEvent>): Promise<unknown[]> {
  const all: unknown[] = []
  try {
    for await (const event of events) {
      if (event.kind === 'image') {
        const { image } = event
        const shown = isImageBody(image)
          ? (await readWhole(image, 'bytes', 10_000_000)).subarray(0, 40)
          : { ...image, url: image.url.replace(/\/\d+-[^.]+\./, '/signature.') }
        all.push({ ...event, image: shown })
      } else if (event.kind === 'accepted') all.push({ ...event, isReplay: undefined })
      else all.push(event)
    }
  } catch (error) {
    if (!(error instanceof Error)) throw error
    all.push({ ...error, message: error.message, cause: undefined })
  }
  return all
}

async function twice(process: MachineProcess, request: Parameters<typeof orderOf>[0]) {
  const order = () => orderOf({ ...request, requestId: 'order-1' })
  return [await allOf(process.runner.run(order(), createCall())), await allOf(process.runner.run(order(), createCall()))] as const
}

const warning = create(WarningSchema, { kind: WarningKind.CONVERTED, param: 'size', message: 'made smaller' })

async function* everything(): AsyncGenerator<ProviderEvent, void, undefined> {
  yield { kind: 'image', index: 0, image: imageFromBytes(png(2_000), 'image/png') }
  yield { kind: 'image_details', index: 0, revisedPrompt: 'a large cat', providerFields: { seed: 7 } }
  yield { kind: 'completed', warnings: [warning], providerFields: { version: 'x' } }
}

test('a replay yields what the first caller got: bytes, details, cost, warnings and the fields of the provider', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(createStandIn({ run: everything }))
  const [first, again] = await twice(process, {})
  expect(first.map((event) => (event as { kind: string }).kind)).toEqual(['accepted', 'image', 'image_details', 'completed'])
  expect(first[3]).toMatchObject({ cost: { totalMicros: 40_000n }, warnings: [{ param: 'size' }], providerFields: { version: 'x' } })
  expect(again).toEqual(first)
})

test('a replay of links yields the same links, signed anew', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(createStandIn({ run: everything }))
  const [first, again] = await twice(process, { responseFormat: ResponseFormat.URL })
  expect(first[1]).toMatchObject({ kind: 'image', image: { mediaType: 'image/png', url: expect.stringMatching(/\/signature\.png$/) } })
  expect(again).toEqual(first)
})

test('a replay names the images that were withheld', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(
    createStandIn({
      async *run(_work, _attempt, call) {
        if (call === 0) yield* everything()
        else yield { kind: 'no_image', index: 0, outcome: ImageOutcome.MODERATED, message: 'withheld by the provider' }
      }
    })
  )
  const [first, again] = await twice(process, { n: 2 })
  expect(first).toContainEqual({ kind: 'no_image', index: 1, outcome: ImageOutcome.MODERATED, message: 'withheld by the provider' })
  expect(again).toEqual(first)
})

test('a replay of a failure is the same error, as long as its key is taken', async () => {
  await using machine = await createTaskMachine()
  const lost = gatewayError(
    'CONTENT_POLICY_VIOLATION',
    { problem: 'no cats' },
    { outcome: 'unknown', code: 'moderation_blocked', moderation: { stage: 'output', categories: ['cats'] } }
  )
  const provider = createStandIn({ run: () => failing(lost) })
  const process = await machine.start(provider)
  const [first, again] = await twice(process, {})
  expect(first[1]).toMatchObject({ reason: 'CONTENT_POLICY_VIOLATION', outcome: 'unknown', moderation: { categories: ['cats'] } })
  expect(again).toEqual(first)
  expect(provider.asked).toHaveLength(1)
})

test('what was refused is asked for again', async () => {
  await using machine = await createTaskMachine()
  const refused = gatewayError('PROVIDER_REJECTED', { problem: 'no' }, { outcome: 'rejected' })
  const provider = createStandIn({ run: (_work, _attempt, call) => (call === 0 ? failing(refused) : everything()) })
  const process = await machine.start(provider)
  const [first, again] = await twice(process, {})
  expect(first[1]).toMatchObject({ reason: 'PROVIDER_REJECTED' })
  expect(again).toHaveLength(4)
})

test('whoever waits for a repetition and leaves gets the reason of that', async () => {
  await using machine = await createTaskMachine()
  const provider = createStandIn({ run: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => undefined) }) }) })
  const process = await machine.start(provider)
  void allOf(process.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  await provider.askedFor(1)
  const connection = new AbortController()
  const waiting = allOf(process.runner.run(orderOf({ requestId: 'order-1' }), createCall({ signal: connection.signal })))
  connection.abort(gatewayError('DEADLINE_EXCEEDED', { limitSeconds: 1 }))
  expect(await waiting).toMatchObject([{ reason: 'DEADLINE_EXCEEDED' }])
})

test('another request under the same key is refused', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(createStandIn({ run: everything }))
  await allOf(process.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  expect(await allOf(process.runner.run(orderOf({ prompt: 'a dog', requestId: 'order-1' }), createCall()))).toMatchObject([
    { reason: 'REQUEST_ID_REUSED' }
  ])
})

test('an image that was deleted since is missing from the replay', async () => {
  await using machine = await createTaskMachine()
  const process = await machine.start(createStandIn({ run: everything }))
  await allOf(process.runner.run(orderOf({ requestId: 'order-1' }), createCall()))
  const [{ id = '' } = {}] = await process.database.query.selectFrom('blobs').select('id').execute()
  await process.blobs.delete(id, 'default')
  expect(await allOf(process.runner.run(orderOf({ requestId: 'order-1' }), createCall()))).toMatchObject([
    { kind: 'accepted' },
    { kind: 'no_image', index: 0, message: 'the image was made and could not be kept' },
    { kind: 'completed' }
  ])
})
