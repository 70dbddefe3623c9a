import { create, type MessageInitShape } from '@bufbuild/protobuf'
import sharp, { type Region, type Sharp } from 'sharp'
import { describe, expect, test } from 'vitest'
import { Background, OutputFormat } from '../../gen/atelier/v1/image_pb.ts'
import { GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { readWhole } from '../../src/images/image-body.ts'
import { createLog } from '../../src/log.ts'
import type { EditInputs, ProviderEvent } from '../../src/providers/provider.ts'
import { createSketchProvider } from '../../src/providers/sketch.ts'
import { editOf, inputImage, leftHalfMask, plainImage } from '../support/input-images.ts'
import { pixelAt } from '../support/pictures.ts'

type Request = MessageInitShape<typeof GenerateImagesRequestSchema>

const provider = createSketchProvider({ name: 'sketch' })
const red = [255, 0, 0]

test('draws inside the mask and leaves every other pixel as it was', async () => {
  const inputs = editOf([await plainImage('#ff0000', 'png', 200, 120)], { mask: await leftHalfMask(200, 120) })
  const edited = await image({ prompt: 'a cat' }, inputs)
  expect(await sizeOf(edited)).toEqual({ width: 200, height: 120 })
  expect((await coloursOf(edited, { left: 100, top: 0, width: 100, height: 120 })).size).toBe(1)
  expect(await pixelAt(edited, 199, 60)).toEqual(red)
  expect((await coloursOf(edited, { left: 0, top: 0, width: 100, height: 120 })).size).toBeGreaterThan(20)
})

test('draws over an image without a mask and lets it shine through', async () => {
  const [onRed, onBlue] = await Promise.all([
    plainImage('#ff0000', 'jpeg', 256, 256).then((input) => image({ prompt: 'a cat' }, editOf([input]))),
    plainImage('#0000ff', 'webp', 256, 256).then((input) => image({ prompt: 'a cat' }, editOf([input])))
  ])
  const [fromRed = [], fromBlue = []] = await Promise.all([onRed, onBlue].map((file) => pixelAt(file, 0, 0)))
  // Both inputs were compressed with losses.
  expect(Math.max(...fromRed.map((value, channel) => Math.abs(value - (red[channel] ?? 0))))).toBeLessThan(6)
  expect(Math.max(...fromBlue.map((value, channel) => Math.abs(value - ([0, 0, 255][channel] ?? 0))))).toBeLessThan(6)
  expect((await coloursOf(onRed, { left: 0, top: 0, width: 256, height: 256 })).size).toBeGreaterThan(20)
})

test('shows every further image', async () => {
  const images = await Promise.all(['#ffffff', '#ff0000', '#00ff00', '#0000ff'].map((colour) => plainImage(colour, 'png', 320, 320)))
  const edited = await image({ prompt: 'a cat' }, editOf(images))
  const dominant = await Promise.all([20, 60, 100].map((x) => pixelAt(edited, x, 20)))
  expect(dominant.map((pixel) => pixel.indexOf(Math.max(...pixel)))).toEqual([0, 1, 2])
})

describe('makes the image', () => {
  test.each<[string, Request, [number, number], { width: number; height: number }]>([
    ['as large as the first one', {}, [300, 200], { width: 300, height: 200 }],
    ['smaller than a very large one', {}, [4096, 1024], { width: 2048, height: 512 }],
    ['no smaller than it can draw', {}, [16, 32], { width: 64, height: 128 }],
    ['within the limits for a ribbon', {}, [2000, 4], { width: 4096, height: 64 }],
    [
      'of the size asked for',
      { sizeSelector: { case: 'dimensions', value: { width: 256, height: 512 } } },
      [300, 200],
      { width: 256, height: 512 }
    ]
  ])('%s', async (_, request, [width, height], expected) => {
    const input = await plainImage('#808080', 'png', width, height)
    expect(await sizeOf(await image({ prompt: 'a cat', ...request }, editOf([input])))).toEqual(expected)
  })

  test('upright as its EXIF data asks', async () => {
    const file = await sharp({ create: { width: 128, height: 64, channels: 3, background: '#ff0000' } })
      .composite([{ input: { create: { width: 64, height: 64, channels: 3, background: '#0000ff' } }, left: 64, top: 0 }])
      .jpeg()
      .withMetadata({ orientation: 3 })
      .toBuffer()
    const edited = await image({ prompt: '🐱' }, editOf([await inputImage(file, 'image/jpeg')]))
    const [red = 0, , blue = 0] = await pixelAt(edited, 0, 0)
    expect(blue).toBeGreaterThan(red)
  })

  test.each([
    ['grey', (picture: Sharp) => picture.toColourspace('b-w').png(), 'image/png'],
    ['16-bit', (picture: Sharp) => picture.toColourspace('rgb16').png(), 'image/png'],
    ['CMYK', (picture: Sharp) => picture.toColourspace('cmyk').jpeg(), 'image/jpeg'],
    ['palette', (picture: Sharp) => picture.png({ palette: true }), 'image/png']
  ])('from a %s one', async (_, make, mediaType) => {
    const file = await make(sharp({ create: { width: 100, height: 100, channels: 3, background: '#808080' } })).toBuffer()
    expect(await sizeOf(await image({ prompt: 'a cat' }, editOf([await inputImage(file, mediaType)])))).toEqual({ width: 100, height: 100 })
  })
})

test('keeps what is transparent only where a transparent background is asked for', async () => {
  const clear = await sharp({ create: { width: 128, height: 128, channels: 4, background: '#00000000' } })
    .png()
    .toBuffer()
  const inputs = editOf([await inputImage(clear, 'image/png')])
  expect(await pixelAt(await image({ prompt: 'a cat', background: Background.TRANSPARENT }, inputs), 0, 0)).toEqual([0, 0, 0, 0])
  expect(await pixelAt(await image({ prompt: 'a cat' }, inputs), 0, 0)).toEqual([255, 255, 255])
})

test('gives the same bytes for the same edit', async () => {
  const inputs = editOf([await plainImage('#336699', 'jpeg', 200, 200)])
  expect(await image({ prompt: 'a cat' }, inputs)).toEqual(await image({ prompt: 'a cat' }, inputs))
})

test.each([
  ['image', 0],
  ['image[1]', 1]
] as const)('refuses an image that cannot be decoded as %s', async (param, place) => {
  const sound = await plainImage('#ffffff')
  const damaged = Buffer.from(sound.bytes)
  damaged.fill(0x55, 45, damaged.length - 20)
  const broken = { ...sound, open: (await inputImage(sound.bytes, 'image/png')).open }
  const images = [sound, sound].map((input, index) => (index === place ? { ...broken, open: opening(damaged) } : input))
  await expect(run({ prompt: 'a cat' }, { inputs: editOf(images) })).rejects.toMatchObject({
    reason: 'INVALID_PARAMETER',
    param,
    message: `${param}: is broken and cannot be decoded`
  })
})

describe('partial images', () => {
  test('come before each image, each with more on it', async () => {
    const events = await run({ prompt: 'a cat', partialImages: 3, outputFormat: OutputFormat.PNG }, { n: 2 })
    expect(events.map(({ kind }) => kind)).toEqual([
      ...['preview', 'preview', 'preview', 'image', 'image_details'],
      ...['preview', 'preview', 'preview', 'image', 'image_details'],
      'completed'
    ])
    expect(events.flatMap((event) => (event.kind === 'preview' ? [[event.index, event.previewIndex]] : []))).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
      [1, 0],
      [1, 1],
      [1, 2]
    ])
    const [first, second, third, last] = await filesOf(events)
    const distances = await Promise.all([first, second, third].map((preview) => differenceOf(preview, last)))
    expect(distances[0]).toBeGreaterThan(0)
    expect(distances).toEqual(distances.toSorted((one, other) => other - one))
  })

  test('of an edit show the image already', async () => {
    const inputs = editOf([await plainImage('#ff0000', 'png', 200, 120)], { mask: await leftHalfMask(200, 120) })
    const files = await filesOf(await run({ prompt: 'a cat', partialImages: 2 }, { inputs }))
    expect(files).toHaveLength(3)
    for (const file of files) expect(await pixelAt(file, 199, 60)).toEqual(red)
  })

  test('change nothing about the image', async () => {
    const files = await filesOf(await run({ prompt: 'a cat', partialImages: 2 }))
    expect(files.at(-1)).toEqual((await filesOf(await run({ prompt: 'a cat' }))).at(-1))
  })
})

function opening(bytes: Buffer) {
  return () => ({
    mediaType: 'image/png',
    form: 'bytes' as const,
    async *read() {
      yield bytes
    }
  })
}

type Collected =
  | Exclude<ProviderEvent, { kind: 'image' | 'preview' }>
  | (Extract<ProviderEvent, { kind: 'image' | 'preview' }> & { file: Buffer })

async function run(request: Request, work: { n?: number; inputs?: EditInputs } = {}): Promise<Collected[]> {
  const sized: Request = work.inputs ? request : { sizeSelector: { case: 'dimensions', value: { width: 240, height: 160 } }, ...request }
  const attempt = { credential: '', signal: new AbortController().signal, timeoutMs: 60_000, log: createLog({ level: 'silent' }) }
  const events: Collected[] = []
  const { n = 1, inputs } = work
  const order = { request: create(GenerateImagesRequestSchema, sized), upstreamModel: 'sketch', n, ...(inputs && { inputs }) }
  for await (const event of provider.run(order, attempt)) {
    if (event.kind !== 'image' && event.kind !== 'preview') events.push(event)
    else if ('read' in event.image) events.push({ ...event, file: Buffer.from(await readWhole(event.image, 'bytes', 64_000_000)) })
  }
  return events
}

async function image(request: Request, inputs: EditInputs): Promise<Buffer> {
  return (await filesOf(await run(request, { inputs }))).at(-1) ?? Buffer.alloc(0)
}

async function filesOf(events: readonly Collected[]): Promise<Buffer[]> {
  return events.flatMap((event) => ('file' in event ? [event.file] : []))
}

async function sizeOf(file: Buffer): Promise<{ width: number; height: number }> {
  const { width, height } = await sharp(file).metadata()
  return { width, height }
}

async function coloursOf(file: Buffer, region: Region): Promise<Set<number>> {
  const pixels = await sharp(file).extract(region).removeAlpha().raw().toBuffer()
  const colours = new Set<number>()
  for (let at = 0; at + 2 < pixels.length; at += 3) colours.add(pixels.readUIntBE(at, 3))
  return colours
}

async function differenceOf(one: Buffer | undefined, other: Buffer | undefined): Promise<number> {
  const [first, second] = await Promise.all([one, other].map((file) => sharp(file).removeAlpha().raw().toBuffer()))
  if (!first || !second || first.length !== second.length) throw new Error('the images differ in size')
  return first.reduce((sum, value, at) => sum + Math.abs(value - (second[at] ?? 0)), 0)
}
