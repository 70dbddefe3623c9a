import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import { startUpstreamServer, type UpstreamServer } from './upstream-server.ts'

/** How the endpoint answers; unset: as it should. */
export type ModerationTrouble = 'rate limited' | 'overloaded' | 'silent' | 'broken' | 'cut off' | 'not JSON' | 'empty' | 'redirect'

export interface FakeModeration extends UpstreamServer {
  /** The whole address of the endpoint. */
  readonly url: string
  /** What it was asked about, in the order of arrival. */
  readonly asked: { input: string; model: string | undefined; headers: IncomingHttpHeaders }[]
  trouble: ModerationTrouble | undefined
}

const categories = [
  'harassment',
  'harassment/threatening',
  'hate',
  'hate/threatening',
  'illicit',
  'illicit/violent',
  'self-harm',
  'self-harm/instructions',
  'self-harm/intent',
  'sexual',
  'sexual/minors',
  'violence',
  'violence/graphic'
]

/** An endpoint that answers as OpenAI documents POST /v1/moderations, and that flags a text for every category whose name it holds. */
export async function startFakeModeration({ apiKey }: { apiKey?: string } = {}): Promise<FakeModeration> {
  const asked: FakeModeration['asked'] = []
  const server = await startUpstreamServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString()
    if (request.method !== 'POST' || request.url !== '/v1/moderations')
      return fail(response, 404, 'invalid_request_error', null, 'Not found')
    if (apiKey !== undefined && request.headers.authorization !== `Bearer ${apiKey}`) {
      return fail(response, 401, 'invalid_request_error', 'invalid_api_key', `Incorrect API key provided: ${request.headers.authorization}`)
    }
    const { input, model } = JSON.parse(body) as { input?: string; model?: string }
    if (typeof input !== 'string') return fail(response, 400, 'invalid_request_error', null, "Missing required parameter: 'input'.")
    asked.push({ input, model, headers: request.headers })
    if (fake.trouble === undefined) send(response, 200, JSON.stringify(judgement(input, model)))
    else misbehave[fake.trouble](response)
  })
  const fake: FakeModeration = Object.assign(server, { url: `${server.origin}/v1/moderations`, asked, trouble: undefined })
  return fake
}

function judgement(input: string, model = 'omni-moderation-latest') {
  const seen = (category: string) => input.toLowerCase().includes(category)
  const table = <Value>(judge: (category: string) => Value) => Object.fromEntries(categories.map((name) => [name, judge(name)]))
  const result = {
    flagged: categories.some(seen),
    categories: table(seen),
    category_scores: table((name) => (seen(name) ? 0.98 : 0.0001)),
    category_applied_input_types: table((name) => (seen(name) ? ['text'] : []))
  }
  return { id: 'modr-0d9740456c391e43c445bf0f010940c7', model, results: [result] }
}

const misbehave: Readonly<Record<ModerationTrouble, (response: ServerResponse) => void>> = {
  'rate limited': (response) => {
    response.setHeader('retry-after', '7')
    fail(response, 429, 'requests', 'rate_limit_exceeded', 'Rate limit reached for omni-moderation-latest. Please try again in 7s.')
  },
  overloaded: (response) => {
    fail(response, 500, 'server_error', null, 'The server had an error while processing your request. Sorry about that!')
  },
  silent: () => undefined,
  broken: (response) => send(response, 200, JSON.stringify(judgement('')).slice(0, 100)),
  'cut off': (response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 5_000 }).write('{"id":"modr-')
    setTimeout(() => response.destroy(), 10)
  },
  'not JSON': (response) => send(response, 200, '<html>Welcome</html>'),
  empty: (response) => send(response, 200, JSON.stringify({ id: 'modr-1', model: 'omni-moderation-latest', results: [] })),
  redirect: (response) => {
    response.setHeader('location', '/v1/moderations')
    send(response, 307, '')
  }
}

function fail(response: ServerResponse, status: number, type: string, code: string | null, message: string): void {
  send(response, status, JSON.stringify({ error: { message, type, param: null, code } }))
}

function send(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body)
}
