import { type FakeOpenAI, type RecordedRequest, startFakeOpenAI } from './fake-openai.ts'
import type { FakeAnswer } from './fake-openai-failures.ts'

export interface FakeAzureOptions {
  /** The resource's key; unset: any. */
  apiKey?: string
  /** The only Microsoft Entra token that is accepted; unset: none. */
  token?: string
  /** What is deployed: models by the names of their deployments. */
  deployments: Readonly<Record<string, string>>
  /** A whole answer of one request, given before anything is checked. */
  answer?: (request: RecordedRequest, ordinal: number) => FakeAnswer | undefined
}

export interface FakeAzure extends AsyncDisposable {
  /** Address of the resource, without a path. */
  url: string
  /** Every request so far, in the order of arrival. */
  requests: RecordedRequest[]
}

/**
 * An Azure OpenAI resource on a port of its own. It is asked as Azure is, by deployment and API version or by its v1 API, with `api-key` or
 * a token, and answers images as the fake OpenAI does, whose words in prompts it knows. In Azure's own wording it answers `[moderated]`,
 * `[moderated-output]` and `[rate-limit]`, and beyond those `[blocked]` 403 for the whole resource, `[timeout]` 408.
 */
export async function startFakeAzure(options: FakeAzureOptions): Promise<FakeAzure> {
  const fake: FakeOpenAI = await startFakeOpenAI({
    ...(options.answer ? { answer: options.answer } : {}),
    receive(request) {
      const asked = deploymentAsked(request)
      if ('status' in asked) return asked
      const refusal = checkKey(request, options, asked.isV1)
      if (refusal) return refusal
      const model = Object.hasOwn(options.deployments, asked.deployment) ? options.deployments[asked.deployment] : undefined
      if (model === undefined) return azureError(404, 'DeploymentNotFound', deploymentNotFound)
      // A model in the body of a deployment's call says nothing: OpenAI's own SDKs send the deployment's name there.
      return failureOf(String(request.body?.prompt)) ?? { body: request.body && { ...request.body, model } }
    }
  })
  return { url: fake.url.replace(/\/v1$/, ''), requests: fake.requests, [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose]() }
}

function deploymentAsked({ method, path, body }: RecordedRequest): { deployment: string; isV1: boolean } | FakeAnswer {
  const { pathname, searchParams } = new URL(path, 'http://resource')
  const version = searchParams.get('api-version')
  if (method === 'POST' && /^\/openai\/v1\/images\/(generations|edits)$/.test(pathname)) {
    if (version !== null && !['v1', 'preview', 'latest'].includes(version))
      return azureError(400, 'BadRequest', 'API version not supported')
    return { deployment: String(body?.model), isV1: true }
  }
  const deployment = /^\/openai\/deployments\/([^/]+)\/images\/(?:generations|edits)$/.exec(pathname)?.[1]
  if (method !== 'POST' || deployment === undefined || !versions.includes(version ?? ''))
    return azureError(404, '404', 'Resource not found')
  return { deployment: decodeURIComponent(deployment), isV1: false }
}

/** Those that know GPT Image, the first one also with all of its parameters. */
const versions = ['2025-04-01-preview', '2025-03-01-preview']

function checkKey({ headers }: RecordedRequest, { apiKey, token }: FakeAzureOptions, isV1: boolean): FakeAnswer | undefined {
  const key = headers['api-key']
  const bearer = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1]
  if (key !== undefined) return apiKey === undefined || key === apiKey ? undefined : azureError(401, '401', wrongKey)
  if (bearer === undefined) return azureError(401, '401', wrongKey)
  return bearer === token || (isV1 && bearer === apiKey) ? undefined : azureError(401, 'Unauthorized', wrongToken)
}

const wrongKey =
  'Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.'
const wrongToken = 'Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), or have expired.'
const deploymentNotFound =
  'The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.'

function failureOf(prompt: string): FakeAnswer | undefined {
  if (prompt.includes('[moderated]')) return promptFiltered()
  if (prompt.includes('[moderated-output]')) {
    return azureError(400, 'contentFilter', 'Generated image was filtered as a result of our safety system.')
  }
  if (prompt.includes('[rate-limit]')) return rateLimited()
  if (prompt.includes('[timeout]')) return azureError(408, 'Timeout', 'The operation was timeout.')
  if (!prompt.includes('[blocked]')) return undefined
  const message =
    'Your resource has been temporarily blocked because we detected behavior that may violate our content policy. For more details on Azure OpenAI service content policy, please visit https://aka.ms/aoaicodeofconduct'
  return azureError(403, 'Forbidden', message)
}

function promptFiltered(): FakeAnswer {
  const results = {
    hate: { filtered: false, severity: 'safe' },
    jailbreak: { detected: false, filtered: false },
    self_harm: { filtered: false, severity: 'safe' },
    sexual: { filtered: false, severity: 'safe' },
    violence: { filtered: true, severity: 'medium' }
  }
  const message =
    'Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed by our safety system.'
  return json(400, {
    code: 'content_policy_violation',
    inner_error: { code: 'ResponsibleAIPolicyViolation', content_filter_results: results },
    message,
    type: 'invalid_request_error'
  })
}

function rateLimited(): FakeAnswer {
  const message =
    'Requests to the image generation operation under Azure OpenAI API version 2025-04-01-preview have exceeded call rate limit of your current pricing tier. Please retry after 7 seconds.'
  const answer = azureError(429, '429', message)
  return { ...answer, headers: { ...answer.headers, 'retry-after': '7', 'x-ratelimit-remaining-requests': '0' } }
}

function azureError(status: number, code: string, message: string): FakeAnswer {
  return json(status, { code, message })
}

function json(status: number, error: unknown): FakeAnswer {
  const headers = {
    'content-type': 'application/json',
    'apim-request-id': '5f1c2d3e-0000-4000-8000-1a2b3c4d5e6f',
    'x-ms-region': 'East US'
  }
  return { status, headers, body: Buffer.from(JSON.stringify({ error })) }
}
