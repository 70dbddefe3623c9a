import type { FakeAnswer } from './fake-openai-failures.ts'

const behaviours = [
  'blocked',
  'blocked-empty',
  'withheld',
  'prohibited',
  'rated',
  'filtered',
  'no-image',
  'image-other',
  'text-only',
  'no-candidates',
  'drafts',
  'withheld-drafts',
  'rate-limit',
  'no-quota',
  'no-credit',
  'location',
  'leaked-key',
  'overloaded',
  'internal',
  'late',
  'bad-gateway',
  'redirect',
  'error-200',
  'malformed',
  'truncated',
  'short',
  'reset',
  'hang',
  'hang-body',
  'large'
] as const

export type GoogleBehaviour = (typeof behaviours)[number]

/** The behaviour that a prompt asks for, e.g. by `[rate-limit]`. */
export function behaviourIn(prompt: string): GoogleBehaviour | undefined {
  return behaviours.find((behaviour) => prompt.includes(`[${behaviour}]`))
}

/** The whole answer of behaviours that are one; undefined for those that are about images or how an answer arrives. */
export function failureOf(behaviour: GoogleBehaviour, model: string): FakeAnswer | undefined {
  switch (behaviour) {
    case 'blocked':
      return refusedPrompt({})
    case 'blocked-empty':
      return refusedPrompt({ candidates: [] })
    case 'withheld':
      return candidateAnswer({ content: { parts: null }, finishReason: 'IMAGE_SAFETY', finishMessage: filteredOut })
    case 'prohibited':
      return candidateAnswer({ content: {}, finishReason: 'IMAGE_PROHIBITED_CONTENT' })
    case 'rated':
      return candidateAnswer({ finishReason: 'SAFETY', safetyRatings })
    case 'filtered':
      return candidateAnswer({ content: { role: 'model', parts: [] }, finishReason: 'OTHER', finishMessage: filteredOut })
    case 'no-image':
      return candidateAnswer({ content: {}, finishReason: 'NO_IMAGE' })
    case 'image-other':
      return candidateAnswer({ content: {}, finishReason: 'IMAGE_OTHER', finishMessage: couldNotGenerate })
    case 'text-only':
      return candidateAnswer({ content: { role: 'model', parts: [{ text: 'Here is a fox in words.' }] }, finishReason: 'STOP' })
    case 'no-candidates':
      return json(200, { usageMetadata: { promptTokenCount: 8, totalTokenCount: 8 } })
    case 'rate-limit':
      return exhausted(`${quota} limit: 500, model: ${model}\nPlease retry in 34.286670503s.`, '34s')
    case 'no-quota':
      return exhausted(`${quota} limit: 0, model: ${model}\nPlease retry in 25.465784708s.`, '25s')
    case 'no-credit':
      return errorAnswer(
        429,
        'RESOURCE_EXHAUSTED',
        'Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing.'
      )
    case 'location':
      return errorAnswer(400, 'FAILED_PRECONDITION', 'User location is not supported for the API use.')
    case 'leaked-key':
      return errorAnswer(403, 'PERMISSION_DENIED', 'Your API key was reported as leaked. Please use another API key.')
    case 'overloaded':
      return errorAnswer(
        503,
        'UNAVAILABLE',
        'This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try again later.'
      )
    case 'internal':
      return errorAnswer(
        500,
        'INTERNAL',
        'An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting'
      )
    case 'late':
      return errorAnswer(504, 'DEADLINE_EXCEEDED', 'Deadline expired before operation could complete.')
    case 'bad-gateway':
      return text(502, 'text/html', '<!DOCTYPE html><html lang=en><title>Error 502 (Server Error)!!1</title><p>That’s an error.</html>')
    case 'redirect':
      return { ...text(307, 'text/plain', ''), headers: { location: 'https://elsewhere.example/v1beta' } }
    case 'error-200':
      return json(200, { error: { code: 500, message: 'Internal error encountered.', status: 'INTERNAL' } })
    case 'malformed':
      return text(200, 'application/json', '{"candidates": [{"content": oops}]}')
    default:
      return undefined
  }
}

/** The `google.rpc.Status` of an error. */
export function errorAnswer(code: number, status: string, message: string, details?: unknown[]): FakeAnswer {
  return json(code, { error: { code, message, status, ...(details ? { details } : {}) } })
}

/** Indented, as the vendor writes its JSON. */
export function json(status: number, body: unknown): FakeAnswer {
  return text(status, 'application/json; charset=UTF-8', `${JSON.stringify(body, null, 2)}\n`)
}

export const filteredOut =
  "Unable to show the generated image. The image was filtered out because it violated Google's Generative AI Prohibited Use policy. You will not be charged for blocked images. Try rephrasing the prompt."
const couldNotGenerate =
  'Unable to show the generated image. The model could not generate the image based on the prompt provided. You will not be charged for this request. Try rephrasing the prompt.'
const quota =
  'You exceeded your current quota, please check your plan and billing details.\n* Quota exceeded for metric: generativelanguage.googleapis.com/generate_requests_per_model,'

const safetyRatings = [
  { category: 'HARM_CATEGORY_SEXUALLY_EXPLICIT', probability: 'HIGH', blocked: true },
  { category: 'HARM_CATEGORY_HARASSMENT', probability: 'NEGLIGIBLE' }
]

function refusedPrompt(rest: object): FakeAnswer {
  const usageMetadata = { promptTokenCount: 8, totalTokenCount: 8 }
  return json(200, { ...rest, promptFeedback: { blockReason: 'PROHIBITED_CONTENT' }, usageMetadata, modelVersion: 'gemini-fake' })
}

function candidateAnswer(candidate: object): FakeAnswer {
  // A refusal's thoughts stand in both counts and once in the total.
  const usageMetadata = { promptTokenCount: 18, candidatesTokenCount: 220, thoughtsTokenCount: 220, totalTokenCount: 238 }
  return json(200, { candidates: [{ ...candidate, index: 0 }], usageMetadata, modelVersion: 'gemini-fake', responseId: 'fakeResponse' })
}

function exhausted(message: string, retryDelay: string): FakeAnswer {
  return errorAnswer(429, 'RESOURCE_EXHAUSTED', message, [
    { '@type': 'type.googleapis.com/google.rpc.Help', links: [{ url: 'https://ai.google.dev/gemini-api/docs/rate-limits' }] },
    { '@type': 'type.googleapis.com/google.rpc.QuotaFailure', violations: [{ quotaId: 'GenerateRequestsPerMinutePerProjectPerModel' }] },
    { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay }
  ])
}

function text(status: number, contentType: string, body: string): FakeAnswer {
  return { status, headers: { 'content-type': contentType }, body: Buffer.from(body) }
}
