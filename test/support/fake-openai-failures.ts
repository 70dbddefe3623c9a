import type { ModelFamily } from './fake-openai-rules.ts'

export interface FakeAnswer {
  status: number
  headers: Record<string, string>
  body: Buffer
}

const behaviours = [
  'moderated',
  'moderated-output',
  'rate-limit',
  'quota',
  'billing-limit',
  'unverified',
  'server-error',
  'overloaded',
  'bad-gateway',
  'redirect',
  'error-200',
  'malformed',
  'empty',
  'truncated',
  'short',
  'reset',
  'hang',
  'hang-body',
  'slow',
  'large',
  'stream-error'
] as const

export type Behaviour = (typeof behaviours)[number]

/** The behaviour that a prompt asks for, e.g. by `[rate-limit]`. */
export function behaviourIn(prompt: string): Behaviour | undefined {
  return behaviours.find((behaviour) => prompt.includes(`[${behaviour}]`))
}

/** The whole answer of behaviours that are one; undefined for those that are about how an answer arrives. */
export function failureOf(behaviour: Behaviour, family: ModelFamily): FakeAnswer | undefined {
  switch (behaviour) {
    case 'moderated':
      return family === 'gpt-image' ? moderationBlocked('input', 'sexual') : contentPolicyViolation()
    case 'moderated-output':
      return family === 'gpt-image' ? moderationBlocked('output', 'violence') : contentPolicyViolation()
    case 'rate-limit':
      return rateLimited()
    case 'quota':
      return errorAnswer(429, {
        message: 'You have run out of credits. Add credits to continue: https://platform.openai.com/settings/organization/billing.',
        type: 'insufficient_quota',
        param: null,
        code: 'credit_balance_exhausted'
      })
    case 'billing-limit':
      return errorAnswer(400, {
        message: 'Billing hard limit has been reached',
        type: 'invalid_request_error',
        param: null,
        code: 'billing_hard_limit_reached'
      })
    case 'unverified':
      return errorAnswer(403, {
        message:
          'Your organization must be verified to use the model `gpt-image-1`. Please go to: https://platform.openai.com/settings/organization/general.',
        type: 'invalid_request_error',
        param: null,
        code: null
      })
    case 'server-error':
      return errorAnswer(500, serverError)
    case 'overloaded':
      return errorAnswer(503, {
        message: 'The server is currently overloaded. Please try again later.',
        type: 'service_unavailable_error',
        param: null,
        code: 'server_is_overloaded'
      })
    case 'bad-gateway':
      return text(
        502,
        'text/html',
        '<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>'
      )
    case 'redirect':
      return { ...text(307, 'text/plain', ''), headers: { location: 'https://elsewhere.example/v1/images/generations' } }
    case 'error-200':
      return errorAnswer(200, serverError)
    case 'malformed':
      return text(200, 'application/json', '{"created": 1763600000, "data": [{"b64_json": oops}]}')
    case 'empty':
      return text(200, 'application/json', '{"created":1763600000,"data":[]}')
    default:
      return undefined
  }
}

const serverError = {
  message: 'The server had an error while processing your request. Sorry about that!',
  type: 'server_error',
  param: null,
  code: null
}

function moderationBlocked(stage: string, category: string): FakeAnswer {
  return errorAnswer(400, {
    message: `Your request was rejected by the safety system. If you believe this is an error, contact us at help.openai.com and include the request ID req_8f1c2b6d4e0a4b7f9c3d5e6f7a8b9c0d. safety_violations=[${category}].`,
    type: 'image_generation_user_error',
    param: null,
    code: 'moderation_blocked',
    moderation_details: { moderation_stage: stage, categories: [category] }
  })
}

function contentPolicyViolation(): FakeAnswer {
  return errorAnswer(400, {
    message:
      'Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed by our safety system.',
    type: 'invalid_request_error',
    param: null,
    code: 'content_policy_violation'
  })
}

function rateLimited(): FakeAnswer {
  const answer = errorAnswer(429, {
    message:
      'Rate limit reached for gpt-image-1 (for limit gpt-image) in organization org-fake on input-images per min: Limit 5, Used 5, Requested 1. Please try again in 12s.',
    type: 'input-images',
    param: null,
    code: 'rate_limit_exceeded'
  })
  const limits = {
    'retry-after': '12',
    'retry-after-ms': '12000',
    'x-ratelimit-limit-requests': '5',
    'x-ratelimit-remaining-requests': '0',
    'x-ratelimit-reset-requests': '12s'
  }
  return { ...answer, headers: { ...answer.headers, ...limits } }
}

function errorAnswer(status: number, error: Record<string, unknown>): FakeAnswer {
  return text(status, 'application/json', JSON.stringify({ error }, null, 2))
}

function text(status: number, contentType: string, body: string): FakeAnswer {
  return { status, headers: { 'content-type': contentType }, body: Buffer.from(body) }
}
