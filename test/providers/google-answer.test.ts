import { create } from '@bufbuild/protobuf'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { ResolvedParametersSchema, UsageSchema } from '../../gen/atelier/v1/image_pb.ts'
import { isImageBody } from '../../src/events.ts'
import { readWhole } from '../../src/images/image-body.ts'
import { fromWire } from '../../src/providers/google-answer.ts'
import answers from '../fixtures/google/answers.json' with { type: 'json' }
import { collectImages } from '../support/collect-images.ts'

describe('the answer of the Gemini API', () => {
  const jpeg = Buffer.from('/9j/4AAQ', 'base64')
  const png = Buffer.from('iVBORw0KGgo=', 'base64')

  test('holds the image, what was counted and what was made', async () => {
    expect(await read('pro')).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/jpeg', bytes: jpeg } },
      {
        kind: 'completed',
        usage: create(UsageSchema, {
          inputTokens: 615n,
          outputTokens: 2686n,
          totalTokens: 3301n,
          inputTokensDetails: { textTokens: 99n, imageTokens: 516n },
          outputTokensDetails: { textTokens: 446n, imageTokens: 2240n }
        }),
        resolved: create(ResolvedParametersSchema, { outputFormat: 2 }),
        providerFields: {
          modelVersion: 'gemini-3-pro-image',
          responseId: 'GOOYaaOTN_r7nsEPv5nSwAo',
          usageMetadata: { serviceTier: 'standard' }
        }
      }
    ])
  })

  test('gives the last image, with the words beside it that are no thoughts', async () => {
    expect(await read('drafts')).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/png', bytes: png } },
      { kind: 'image_details', index: 0, providerFields: { finishReason: 'MAX_TOKENS', text: 'Here is your fox.\nEnjoy!' } },
      { kind: 'completed', resolved: create(ResolvedParametersSchema, { outputFormat: 1 }) }
    ])
  })

  test('gives an image although it is marked as a thought', async () => {
    expect((await read('thought-alone'))[0]).toEqual({ kind: 'image', index: 0, image: { mediaType: 'image/png', bytes: png } })
  })

  test('goes by the stated type where the bytes show none', async () => {
    expect(await read('new-type')).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/x-new', bytes: Buffer.alloc(3) } },
      { kind: 'completed' }
    ])
  })

  test('is that of the first candidate', async () => {
    expect((await read('second-candidate'))[0]).toEqual({ kind: 'image', index: 0, image: { mediaType: 'image/png', bytes: png } })
  })

  test('reads the size from the header of the image', async () => {
    const bytes = await sharp({ create: { width: 33, height: 21, channels: 3, background: 'red' } })
      .webp()
      .toBuffer()
    const events = await readBody([imageAnswer(bytes, 'image/png')])
    expect(events).toEqual([
      { kind: 'image', index: 0, image: { mediaType: 'image/webp', bytes } },
      { kind: 'completed', resolved: create(ResolvedParametersSchema, { size: { width: 33, height: 21 }, outputFormat: 3 }) }
    ])
  })

  test('says of further images that one call makes one', async () => {
    const events = await readBody([JSON.stringify(answers.pro.body)], 3)
    expect(events.map((event) => ('index' in event ? `${event.kind} ${event.index}` : event.kind))).toEqual([
      'image 0',
      'no_image 1',
      'no_image 2',
      'completed'
    ])
  })

  test.each(Object.keys(answers) as AnswerName[])('means the same in chunks of one byte: %s', async (name) => {
    const body = Buffer.from(JSON.stringify(answers[name].body))
    expect(await readBody([...body].map((byte) => Buffer.of(byte)))).toEqual(await readBody([body]))
  })

  test('gives large images byte for byte', async () => {
    const bytes = Buffer.alloc(1_000_003, 'abcdefghijklmnopqrstuvwxyz')
    expect((await readBody([imageAnswer(bytes, 'image/png')]))[0]).toEqual({
      kind: 'image',
      index: 0,
      image: { mediaType: 'image/png', bytes }
    })
  })

  test('gives an image as base64 that stands in one piece', async () => {
    const bytes = Buffer.alloc(500_000, 'abc')
    const events = fromWire(chunks([imageAnswer(bytes, 'image/png')]), context(1))[Symbol.asyncIterator]()
    const { value } = await events.next()
    if (value?.kind !== 'image' || !isImageBody(value.image)) throw new Error('no image')
    expect(Buffer.from(await readWhole(value.image, 'base64', 1_000_000)).toString()).toBe(bytes.toString('base64'))
  })

  test('holds an image of 64 MiB, and none of one byte more', async () => {
    const [before, after] = ['{"candidates":[{"content":{"parts":[{"inlineData":{"data":"', '"}}]}}]}']
    // 22,369,621 groups of three bytes, and one byte more.
    const groups = [...Array<string>(21).fill('AAAA'.repeat(1_048_576)), 'AAAA'.repeat(349_525)]
    const [image] = await readBody([before, ...groups, 'AA==', after])
    expect(image?.kind === 'image' && 'bytes' in image.image && image.image.bytes.length).toBe(67_108_864)
    await expect(readBody([before, ...groups, 'AAA=', after])).rejects.toMatchObject({
      reason: 'PROVIDER_FAILED',
      outcome: 'unknown',
      message: 'the provider paint failed: its image has more than 67108864 bytes'
    })
  })

  const unknown = { reason: 'OUTCOME_UNKNOWN', outcome: 'unknown', retryable: false }
  const failed = { reason: 'PROVIDER_FAILED', outcome: 'unknown' }
  const moderated = { reason: 'CONTENT_POLICY_VIOLATION', outcome: 'unknown', retryable: false }
  const image = '{"parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}}]}'
  test.each([
    [
      'whose prompt was blocked',
      '{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}',
      {
        ...moderated,
        outcome: 'rejected',
        param: 'prompt',
        message: "the provider's safety system refused the prompt (PROHIBITED_CONTENT)",
        moderation: { stage: 'input', categories: ['prohibited_content'] }
      }
    ],
    [
      'whose prompt was blocked by ratings',
      '{"candidates":[],"promptFeedback":{"blockReason":"SAFETY","safetyRatings":[{"category":"HARM_CATEGORY_HATE_SPEECH","probability":"HIGH","blocked":true}]}}',
      { ...moderated, outcome: 'rejected', moderation: { stage: 'input', categories: ['hate_speech'] } }
    ],
    [
      'whose prompt was blocked in words',
      '{"candidates":null,"promptFeedback":{"blockReason":"NEWEST","blockReasonMessage":"not this prompt"}}',
      { ...moderated, outcome: 'rejected', message: 'not this prompt', moderation: { stage: 'input', categories: ['newest'] } }
    ],
    [
      'withheld with a message, at no charge',
      '{"candidates":[{"content":{"parts":null},"finishReason":"IMAGE_SAFETY","finishMessage":"It was filtered out. You will not be charged for blocked images."}]}',
      { ...moderated, outcome: 'rejected', message: 'It was filtered out. You will not be charged for blocked images.' }
    ],
    [
      'withheld by its message alone',
      '{"candidates":[{"finishMessage":"The image was filtered out because it violated a policy."}]}',
      { ...moderated, moderation: { stage: 'output', categories: [] } }
    ],
    ['withheld behind a draft', `{"candidates":[{"content":${image},"finishReason":"IMAGE_SAFETY"}]}`, moderated],
    ['withheld before its draft', `{"candidates":[{"finishReason":"IMAGE_SAFETY","content":${image}}]}`, moderated],
    [
      'without an image',
      '{"candidates":[{"content":{},"finishReason":"NO_IMAGE","index":0}]}',
      { ...failed, message: 'the provider paint failed: it answered without an image (NO_IMAGE)' }
    ],
    ['without an image behind a draft', `{"candidates":[{"content":${image},"finishReason":"NO_IMAGE"}]}`, failed],
    [
      'without an image, at no charge',
      '{"candidates":[{"content":{},"finishReason":"IMAGE_OTHER","finishMessage":"The model could not generate the image. You will not be charged for this request."}]}',
      {
        ...failed,
        outcome: 'rejected',
        message:
          'the provider paint failed: The model could not generate the image. You will not be charged for this request. (IMAGE_OTHER)'
      }
    ],
    [
      'of text',
      `{"candidates":[{"content":{"parts":[{"text":"thinking","thought":true},{"text":"${'so '.repeat(100)}"}]},"finishReason":"STOP"}]}`,
      { ...failed, message: `the provider paint failed: it answered with text instead of an image: ${'so '.repeat(100).slice(0, 199)}…` }
    ],
    [
      'with parts that are none',
      '{"candidates":[{"content":{"parts":[null,"x",{"inlineData":{"mimeType":"image/png","data":""}}]},"finishReason":"STOP"}]}',
      { ...failed, message: 'the provider paint failed: it answered without an image' }
    ],
    ['with data that is no string', '{"candidates":[{"content":{"parts":[{"inlineData":{"data":7}}]}}]}', failed],
    [
      'without candidates',
      '{"usageMetadata":{"promptTokenCount":8}}',
      { ...failed, message: 'the provider paint failed: it answered without any candidate, and does not say why' }
    ],
    ['whose candidate is none', '{"candidates":[7]}', failed],
    ['that is no object', '[]', failed],
    [
      'with an error object',
      '{"error":{"code":503,"message":"too busy","status":"UNAVAILABLE"}}',
      { reason: 'PROVIDER_OVERLOADED', outcome: 'rejected', message: 'the provider paint is overloaded: too busy' }
    ],
    ['with an error in words', '{"error":"out of paint"}', { ...failed, message: 'the provider paint failed: out of paint' }],
    [
      'with an error without words',
      '{"error":{}}',
      { ...failed, message: 'the provider paint failed: it reports an error without a message' }
    ],
    ['that is malformed', '{"candidates":[oops]}', unknown],
    ['that is malformed behind its image', `{"candidates":[{"content":${image}}],}`, unknown],
    ['that ends early', `{"candidates":[{"content":${image}`, unknown],
    ['that ends in an image', '{"candidates":[{"content":{"parts":[{"inlineData":{"data":"iVBORw0K', unknown],
    ['whose image is no base64', '{"candidates":[{"content":{"parts":[{"inlineData":{"data":"AA*A"}}]}}]}', unknown],
    ['in HTML', '<html></html>', unknown],
    ['of nothing', '', unknown]
  ])('%s is an error', async (_, body, expected) => {
    await expect(readBody([body])).rejects.toMatchObject(expected)
  })

  test.each([
    'SAFETY',
    'IMAGE_SAFETY',
    'IMAGE_PROHIBITED_CONTENT',
    'IMAGE_RECITATION',
    'PROHIBITED_CONTENT',
    'BLOCKLIST',
    'SPII',
    'RECITATION',
    'NEW_KIND_SAFETY'
  ])('withheld for %s is no answer', async (reason) => {
    await expect(readBody([`{"candidates":[{"content":{},"finishReason":"${reason}","index":0}]}`])).rejects.toMatchObject({
      ...moderated,
      message: `the provider's safety system withheld the image (${reason})`,
      moderation: { stage: 'output', categories: [reason.toLowerCase()] }
    })
  })

  test('never shows a key', async () => {
    const said = 'not with AIzaSyA3XAQD_0000000000000000000000000 or quiet-credential'
    const candidate = { content: { parts: [{ text: said }] }, finishReason: 'STOP' }
    await expect(readBody([JSON.stringify({ candidates: [candidate] })])).rejects.toThrow('not with [key] or [key]')
  })
})

type AnswerName = keyof typeof answers

function context(n: number) {
  return { provider: 'paint', secrets: ['quiet-credential'], n }
}

function imageAnswer(bytes: Buffer, mimeType: string): string {
  return JSON.stringify({ candidates: [{ content: { parts: [{ inlineData: { mimeType, data: bytes.toString('base64') } }] } }] })
}

function read(name: AnswerName) {
  return readBody([JSON.stringify(answers[name].body)])
}

function readBody(parts: (string | Uint8Array)[], n = 1) {
  return collectImages(fromWire(chunks(parts), context(n)))
}

async function* chunks(parts: (string | Uint8Array)[]) {
  for (const part of parts) yield Buffer.from(part)
}
