import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { AspectRatioSchema, ResolutionSchema, Size } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import { textFormat, wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { UpstreamClient } from '../upstream/client.ts'
import { configuredHeaders } from './configured-headers.ts'
import { fromWire } from './google-answer.ts'
import { toProviderError } from './google-errors.ts'
import { jsonBody } from './json-body.ts'
import { lowerCaseNames, postUpstream } from './post-upstream.ts'
import type { AttemptContext, InputImage, Provider, ProviderEvent, Work } from './provider.ts'

export interface GoogleOptions {
  /** Name of the provider in errors. */
  name: string
  /** Where `models/…` is, e.g. "https://generativelanguage.googleapis.com/v1beta"; the client calls paths below it. */
  baseUrl: string
  /** Sent with every call. */
  headers: Record<string, string>
}

/**
 * Google's Gemini API, `generateContent`. The credential is sent as `x-goog-api-key`, an empty one not at all. One call makes one image,
 * which is handed out when the whole answer is here: only its end says which image is the result. Images to work on travel inside the
 * body, read and turned into base64 while it is sent.
 */
export function createGoogleProvider(options: GoogleOptions, deps: { client: UpstreamClient }): Provider {
  const headers = lowerCaseNames(options.headers)

  async function* run(work: Work, attempt: AttemptContext): AsyncIterable<ProviderEvent> {
    const { credential } = attempt
    const context = { provider: options.name, secrets: [credential, ...Object.values(headers)] }
    const request = {
      path: `/models/${encodeURIComponent(work.upstreamModel.replace(/^models\//, ''))}:generateContent`,
      headers: {
        ...configuredHeaders(headers, attempt),
        accept: 'application/json',
        'content-type': 'application/json',
        ...(credential === '' ? {} : { 'x-goog-api-key': credential })
      },
      body: work.inputs ? jsonBody((place) => toWire(work, place)) : JSON.stringify(toWire(work))
    }
    const response = await postUpstream(deps.client, request, attempt, context, toProviderError)
    yield* fromWire(response.body, { ...context, n: work.n })
  }

  return {
    recovery: 'opaque',
    understands: [...Object.keys(generationOptions), ...Object.keys(requestOptions)],
    // Images come inside the answer: no URL of theirs is ever fetched.
    trustedOrigins: [],
    run
  }
}

/** Further parameters in both spellings, with the vendor's own: those of `generationConfig`, and those beside it. */
const generationOptions: Readonly<Record<string, string>> = {
  temperature: 'temperature',
  top_p: 'topP',
  topP: 'topP',
  top_k: 'topK',
  topK: 'topK',
  thinking_config: 'thinkingConfig',
  thinkingConfig: 'thinkingConfig'
}
const requestOptions: Readonly<Record<string, string>> = {
  safety_settings: 'safetySettings',
  safetySettings: 'safetySettings',
  system_instruction: 'systemInstruction',
  systemInstruction: 'systemInstruction'
}

/**
 * The body of `generateContent`; images to work on stand behind the prompt, each with what `dataOf` gives for it as its data. Throws what
 * the vendor cannot be asked for, with the outcome `not_sent`: INVALID_SIZE for a size in pixels, INVALID_PARAMETER for a mask.
 */
export function toWire({ request, upstreamModel, inputs }: Work, dataOf: (image: InputImage) => string = () => ''): JsonObject {
  if (inputs?.mask) {
    throw gatewayError('INVALID_PARAMETER', { param: 'mask', problem: `${upstreamModel} takes no mask` }, { outcome: 'not_sent' })
  }
  const images = (inputs?.images ?? []).map((image) => ({ inlineData: { mimeType: image.mediaType, data: dataOf(image) } }))
  const imageConfig = imageConfigOf(request, upstreamModel)
  const { systemInstruction, ...beside } = pick(request.providerOptions, requestOptions)
  return {
    contents: [{ role: 'user', parts: [{ text: request.prompt }, ...images] }],
    ...(systemInstruction === undefined ? {} : { systemInstruction: toContent(systemInstruction) }),
    ...beside,
    generationConfig: {
      ...pick(request.providerOptions, generationOptions),
      responseModalities: ['IMAGE'],
      ...(Object.keys(imageConfig).length === 0 ? {} : { imageConfig }),
      ...(request.seed === undefined ? {} : { seed: request.seed % seeds })
    }
  }
}

/** The vendor's seeds are signed 32-bit numbers. */
const seeds = 2 ** 31

function imageConfigOf({ sizeSelector, resolution }: GenerateImagesRequest, model: string): JsonObject {
  const isAuto = sizeSelector.case === undefined || (sizeSelector.case === 'size' && sizeSelector.value === Size.SIZE_AUTO)
  if (!isAuto && sizeSelector.case !== 'aspectRatio') {
    const allowed = 'an aspect ratio such as 16:9, beside which `resolution` may be 512, 1K, 2K or 4K, or auto'
    throw gatewayError('INVALID_SIZE', { model, allowed }, { outcome: 'not_sent', param: 'size' })
  }
  const aspectRatio = sizeSelector.case === 'aspectRatio' ? textFormat(AspectRatioSchema)?.format({ ...sizeSelector.value }) : undefined
  const imageSize = wireName(ResolutionSchema, resolution)
  return { ...(aspectRatio === undefined ? {} : { aspectRatio }), ...(imageSize === undefined ? {} : { imageSize }) }
}

function pick(options: JsonObject | undefined, names: Readonly<Record<string, string>>): JsonObject {
  return Object.fromEntries(
    Object.entries(options ?? {}).flatMap(([name, value]) => {
      const vendorName = Object.hasOwn(names, name) ? names[name] : undefined
      return vendorName === undefined || value === null ? [] : [[vendorName, value]]
    })
  )
}

/** A system instruction in words is put into the vendor's form. */
function toContent(instruction: JsonValue): JsonValue {
  return typeof instruction === 'string' ? { parts: [{ text: instruction }] } : instruction
}
