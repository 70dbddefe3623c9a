import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import sharp from 'sharp'
import { expect, test } from 'vitest'
import { Background, CostSchema, OutputFormat, Resolution, ResolvedParametersSchema, Size, Style } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { gatewayError } from '../../src/errors.ts'
import { type ImageBody, readWhole } from '../../src/images/image-body.ts'
import { createLog } from '../../src/log.ts'
import type { AttemptContext, Provider, ProviderEvent, Work } from '../../src/providers/provider.ts'
import { createSketchProvider } from '../../src/providers/sketch.ts'

type Request = MessageInitShape<typeof GenerateImagesRequestSchema>

const provider = createSketchProvider({ name: 'sketch' })
const small: Request['sizeSelector'] = { case: 'dimensions', value: { width: 320, height: 200 } }

test('yields each image with its details, then what was made and that it cost nothing', async () => {
  const events = await run({ prompt: 'a cat', sizeSelector: small }, { n: 2 })
  expect(events).toEqual([
    { kind: 'image', index: 0, image: expect.objectContaining({ mediaType: 'image/png', form: 'bytes' }) },
    { kind: 'image_details', index: 0 },
    { kind: 'image', index: 1, image: expect.objectContaining({ mediaType: 'image/png', form: 'bytes' }) },
    { kind: 'image_details', index: 1 },
    {
      kind: 'completed',
      resolved: create(ResolvedParametersSchema, {
        size: { width: 320, height: 200 },
        outputFormat: OutputFormat.PNG,
        background: Background.OPAQUE
      }),
      cost: create(CostSchema, { totalMicros: 0n, estimated: false })
    }
  ])
  expect(provider.recovery).toBe('idempotent')
  expect(provider.understands).toEqual(['delay_ms', 'fail'])
})

test.each([
  ['png', OutputFormat.PNG, 640, 213],
  ['jpeg', OutputFormat.JPEG, 213, 640],
  ['webp', OutputFormat.WEBP, 333, 257],
  ['png', OutputFormat.UNSPECIFIED, 64, 64]
])('makes a %s of exactly the size asked for', async (format, outputFormat, width, height) => {
  const bytes = await image({ prompt: 'a cat', outputFormat, sizeSelector: { case: 'dimensions', value: { width, height } } })
  expect(await describe(bytes)).toEqual({ format, width, height, hasAlpha: false })
})

test.each<[string, Request, { width: number; height: number }]>([
  ['nothing', {}, { width: 1024, height: 1024 }],
  ['auto', { sizeSelector: { case: 'size', value: Size.SIZE_AUTO } }, { width: 1024, height: 1024 }],
  ['a preset', { sizeSelector: { case: 'size', value: Size.SIZE_1792X1024 } }, { width: 1792, height: 1024 }],
  ['a tier', { resolution: Resolution.RESOLUTION_512 }, { width: 512, height: 512 }],
  ['a ratio', { sizeSelector: { case: 'aspectRatio', value: { width: 3, height: 2 } } }, { width: 1254, height: 836 }],
  [
    'a ratio and a tier',
    { sizeSelector: { case: 'aspectRatio', value: { width: 16, height: 9 } }, resolution: Resolution.RESOLUTION_4K },
    { width: 3840, height: 2160 }
  ]
])('understands %s as size', async (_, request, size) => {
  const bytes = await image({ prompt: 'a cat', ...request })
  expect(await describe(bytes)).toMatchObject(size)
})

test('gives the same bytes for the same request in every format, from another provider and in another process', async () => {
  for (const outputFormat of [OutputFormat.PNG, OutputFormat.JPEG, OutputFormat.WEBP]) {
    const request = { prompt: 'Zürich at dawn', sizeSelector: small, outputFormat }
    const hash = hashOf(await image(request))
    expect(hashOf(await image(request, createSketchProvider({ name: 'other' })))).toBe(hash)
    expect(await hashInAnotherProcess('Zürich at dawn', outputFormat)).toBe(hash)
  }
})

test('draws another image for another prompt, another seed and each further image', async () => {
  const hashes = [
    ...(await images({ prompt: 'a cat', seed: 7, sizeSelector: small }, 3)),
    await image({ prompt: 'a dog', seed: 7, sizeSelector: small }),
    await image({ prompt: 'a cat', sizeSelector: small })
  ].map(hashOf)
  expect(new Set(hashes).size).toBe(5)
})

test('counts the seed up by one for each further image and wraps around at the end', async () => {
  const [first, second] = await images({ prompt: 'a cat', seed: 4_294_967_295, sizeSelector: small }, 2)
  expect(hashOf(first)).toBe(hashOf(await image({ prompt: 'a cat', seed: 4_294_967_295, sizeSelector: small })))
  expect(hashOf(second)).toBe(hashOf(await image({ prompt: 'a cat', seed: 0, sizeSelector: small })))
})

test('draws in other colours for each style', async () => {
  const styles = [Style.UNSPECIFIED, Style.VIVID, Style.NATURAL]
  const hashes = await Promise.all(styles.map(async (style) => hashOf(await image({ prompt: 'a cat', style, sizeSelector: small }))))
  expect(new Set(hashes).size).toBe(3)
})

test.each([
  ['png', OutputFormat.PNG],
  ['webp', OutputFormat.WEBP]
])('leaves the corners of a transparent %s empty and draws in its middle', async (format, outputFormat) => {
  const bytes = await image({ prompt: 'a cat', background: Background.TRANSPARENT, outputFormat, sizeSelector: small })
  expect(await describe(bytes)).toEqual({ format, width: 320, height: 200, hasAlpha: true })
  const { data } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true })
  const alphas = data.filter((_, at) => at % 4 === 3)
  expect(alphas[0]).toBe(0)
  expect(alphas.at(-1)).toBe(0)
  expect(alphas.some((alpha) => alpha === 255)).toBe(true)
})

test('keeps the colour of half transparent pixels, whatever ground they are shown on', async () => {
  const bytes = await image({ prompt: 'a cat', background: Background.TRANSPARENT, sizeSelector: small })
  const { data } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true })
  // The plate under the letters and the rim are light paper: their smooth edges must not be darker than the paper itself.
  const edges = Array.from({ length: data.length / 4 }, (_, index) => data.subarray(4 * index, 4 * index + 4)).filter(
    ([, , , alpha = 0]) => alpha > 30 && alpha < 225
  )
  expect(edges.length).toBeGreaterThan(20)
  expect(edges.filter(([red = 0, green = 0, blue = 0]) => Math.min(red, green, blue) < 170)).toEqual([])
})

test('refuses a transparent background where the format has none', async () => {
  await expect(run({ prompt: 'a cat', background: Background.TRANSPARENT, outputFormat: OutputFormat.JPEG })).rejects.toMatchObject({
    reason: 'INVALID_PARAMETER',
    message: 'background: transparent needs the output_format png or webp',
    outcome: 'not_sent'
  })
})

test('makes smaller files of JPEG and WebP at a lower output_compression', async () => {
  for (const outputFormat of [OutputFormat.JPEG, OutputFormat.WEBP]) {
    const sizes = await Promise.all(
      [0, 50, 100, undefined].map(async (percent) => {
        const compression = percent === undefined ? {} : { outputCompression: percent }
        return (await image({ prompt: 'a cat', outputFormat, sizeSelector: small, ...compression })).length
      })
    )
    expect(sizes).toEqual([...sizes].sort((a, b) => a - b))
    expect(sizes[0]).toBeLessThan(sizes[1] ?? 0)
    expect(sizes[1]).toBeLessThan(sizes[2] ?? 0)
    expect(sizes[3]).toBe(sizes[2])
  }
})

test.each([
  ['gif', OutputFormat.GIF],
  ['svg', OutputFormat.SVG]
])('refuses %s and names the formats that it makes', async (name, outputFormat) => {
  await expect(run({ prompt: 'a cat', outputFormat })).rejects.toMatchObject({
    reason: 'INVALID_PARAMETER',
    param: 'output_format',
    message: `output_format: ${name} cannot be made here: must be png, jpeg or webp`
  })
})

test.each([
  [63, 64],
  [64, 63],
  [4097, 1024],
  [1024, 4097]
])('refuses %i by %i pixels and names the limits', async (width, height) => {
  await expect(run({ prompt: 'a cat', sizeSelector: { case: 'dimensions', value: { width, height } } })).rejects.toMatchObject({
    reason: 'INVALID_SIZE',
    param: 'size',
    message: 'Invalid size for sketch: must be from 64 to 4096 pixels wide and high',
    outcome: 'not_sent'
  })
})

test.each([
  ['delay_ms', -1, 'delay_ms: must be a whole number of milliseconds from 0 to 600000'],
  ['delay_ms', 0.5, 'delay_ms: must be a whole number of milliseconds from 0 to 600000'],
  ['delay_ms', 600_001, 'delay_ms: must be a whole number of milliseconds from 0 to 600000'],
  ['delay_ms', '10', 'delay_ms: must be a whole number of milliseconds from 0 to 600000'],
  ['fail', 'often', 'fail: must be one of moderation, rate_limit, provider_error, cut_off'],
  ['fail', true, 'fail: must be one of moderation, rate_limit, provider_error, cut_off']
])('refuses the option %s: %j', async (name, value, message) => {
  await expect(run({ prompt: 'a cat', providerOptions: { [name]: value } })).rejects.toMatchObject({
    reason: 'INVALID_PARAMETER',
    param: name,
    message,
    outcome: 'not_sent'
  })
})

test('takes an option that is null as unset, and ignores options that it does not know', async () => {
  const plain = await image({ prompt: 'a cat', sizeSelector: small })
  const bytes = await image({ prompt: 'a cat', sizeSelector: small, providerOptions: { delay_ms: null, fail: null, steps: 20 } })
  expect(hashOf(bytes)).toBe(hashOf(plain))
})

test.each([
  [
    'moderation',
    {
      reason: 'CONTENT_POLICY_VIOLATION',
      message: 'Your request was rejected as a result of our safety system.',
      outcome: 'rejected',
      retryable: false,
      moderation: { stage: 'input', categories: [] }
    }
  ],
  ['rate_limit', { reason: 'PROVIDER_RATE_LIMITED', outcome: 'rejected', retryAfterMs: 1000, retryable: true }],
  ['provider_error', { reason: 'PROVIDER_FAILED', outcome: 'unknown', retryable: false }]
])('rehearses the failure %s', async (fail, error) => {
  await expect(run({ prompt: 'a cat', sizeSelector: small, providerOptions: { fail } })).rejects.toMatchObject(error)
})

test('rehearses a cut-off: half of the image comes, then the outcome is unknown', async () => {
  const whole = await image({ prompt: 'a cat', sizeSelector: small })
  const events = start({ prompt: 'a cat', sizeSelector: small, providerOptions: { fail: 'cut_off' } })[Symbol.asyncIterator]()
  const { value: event } = await events.next()
  const chunks: Uint8Array[] = []
  const reading = (async () => {
    for await (const chunk of imageOf(event).read('bytes')) chunks.push(chunk)
  })()
  await expect(reading).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN', outcome: 'unknown', retryable: false })
  expect(Buffer.concat(chunks)).toEqual(Buffer.from(whole.subarray(0, Math.ceil(whole.length / 2))))
  await expect(events.next()).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN' })
})

test('a cut-off image breaks off in base64 as well', async () => {
  const [event] = await take(start({ prompt: 'a cat', sizeSelector: small, providerOptions: { fail: 'cut_off' } }), 1)
  await expect(readWhole(imageOf(event), 'base64', 1e7)).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN' })
})

test('waits for delay_ms before it draws', async () => {
  let isDone = false
  const running = run({ prompt: 'a cat', sizeSelector: small, providerOptions: { delay_ms: 400 } }).then(() => {
    isDone = true
  })
  await pause(250)
  expect(isDone).toBe(false)
  await running
  expect(isDone).toBe(true)
})

test('stops during the delay when the caller goes away', async () => {
  const gone = new AbortController()
  const running = run({ prompt: 'a cat', providerOptions: { delay_ms: 600_000 } }, { signal: gone.signal })
  gone.abort()
  await expect(running).rejects.toMatchObject({ reason: 'CANCELLED', outcome: 'rejected' })
})

test('throws what the signal says where that is an error for callers', async () => {
  const signal = AbortSignal.abort(gatewayError('DEADLINE_EXCEEDED', { limitSeconds: 3 }))
  await expect(run({ prompt: 'a cat' }, { signal })).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'rejected' })
})

test('stops when the time for the attempt is over', async () => {
  const running = run({ prompt: 'a cat', providerOptions: { delay_ms: 600_000 } }, { timeoutMs: 20 })
  await expect(running).rejects.toMatchObject({ reason: 'DEADLINE_EXCEEDED', outcome: 'rejected', fields: { limitSeconds: 0.02 } })
})

test('draws no further image after the caller has gone', async () => {
  const gone = new AbortController()
  const events = start({ prompt: 'a cat', sizeSelector: small }, { n: 2, signal: gone.signal })[Symbol.asyncIterator]()
  expect((await events.next()).value).toMatchObject({ kind: 'image', index: 0 })
  gone.abort()
  expect((await events.next()).value).toEqual({ kind: 'image_details', index: 0 })
  await expect(events.next()).rejects.toMatchObject({ reason: 'CANCELLED' })
})

test('leaves the event loop free while it draws', async () => {
  let longestGapMs = 0
  let last = performance.now()
  const startedAt = last
  const ticker = setInterval(() => {
    longestGapMs = Math.max(longestGapMs, performance.now() - last)
    last = performance.now()
  }, 5)
  const size = { case: 'dimensions', value: { width: 3000, height: 3000 } } as const
  await run({ prompt: 'a cat', sizeSelector: size, background: Background.TRANSPARENT })
  clearInterval(ticker)
  // A thread that draws by itself stands still for three quarters of the time, one that encodes by itself for more than a quarter.
  expect(longestGapMs).toBeLessThan((performance.now() - startedAt) / 4)
})

test.each(['一只猫', '🐱🐱🐱', 'قطة', '\u0000\ud800', '<script>&"\']]>', 'x'.repeat(32_000), '   '])(
  'draws whatever the prompt is: %j',
  async (prompt) => {
    const bytes = await image({ prompt, sizeSelector: small })
    expect(await describe(bytes)).toMatchObject({ format: 'png', width: 320, height: 200 })
  }
)

function start(request: Request, options: { n?: number } & Partial<AttemptContext> = {}, from: Provider = provider) {
  const { n = 1, ...attempt } = options
  const work: Work = { request: create(GenerateImagesRequestSchema, request), upstreamModel: 'sketch', n }
  return from.run(work, {
    credential: '',
    signal: new AbortController().signal,
    timeoutMs: 60_000,
    log: createLog({ level: 'silent' }),
    ...attempt
  })
}

function run(request: Request, options: { n?: number } & Partial<AttemptContext> = {}): Promise<ProviderEvent[]> {
  return Array.fromAsync(start(request, options))
}

async function images(request: Request, n: number, from: Provider = provider): Promise<Uint8Array[]> {
  const all: Uint8Array[] = []
  for await (const event of start(request, { n }, from)) {
    if (event.kind === 'image') all.push(await readWhole(imageOf(event), 'bytes', 1e8))
  }
  return all
}

async function image(request: Request, from: Provider = provider): Promise<Uint8Array> {
  const [only] = await images(request, 1, from)
  if (only === undefined) throw new Error('no image came')
  return only
}

function imageOf(event: ProviderEvent | undefined): ImageBody {
  if (event?.kind !== 'image' || !('read' in event.image)) throw new Error('this is no image')
  return event.image
}

async function take<T>(source: AsyncIterable<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  for await (const item of source) if (taken.push(item) === count) break
  return taken
}

async function describe(bytes: Uint8Array) {
  const { format, width, height, hasAlpha } = await sharp(bytes).metadata()
  return { format, width, height, hasAlpha }
}

function hashOf(bytes: Uint8Array | undefined): string {
  return createHash('sha256')
    .update(bytes ?? '')
    .digest('hex')
}

async function hashInAnotherProcess(prompt: string, outputFormat: OutputFormat): Promise<string> {
  const script = `
    import { createHash } from 'node:crypto'
    import { create } from '@bufbuild/protobuf'
    import { GenerateImagesRequestSchema } from './gen/atelier/v1/image_service_pb.ts'
    import { createSketchProvider } from './src/providers/sketch.ts'
    const request = create(GenerateImagesRequestSchema, {
      prompt: ${JSON.stringify(prompt)}, outputFormat: ${outputFormat},
      sizeSelector: { case: 'dimensions', value: { width: 320, height: 200 } }
    })
    const attempt = { credential: '', signal: new AbortController().signal, timeoutMs: 60_000 }
    const hash = createHash('sha256')
    for await (const event of createSketchProvider({ name: 'sketch' }).run({ request, upstreamModel: 'sketch', n: 1 }, attempt)) {
      if (event.kind === 'image') for await (const chunk of event.image.read('bytes')) hash.update(chunk)
    }
    console.log(hash.digest('hex'))`
  const root = new URL('../..', import.meta.url)
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], { cwd: root })
  return stdout.trim()
}
