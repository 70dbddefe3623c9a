// Seed 003, the service that receives callbacks: prints those that come from your gateway. Needs CALLBACK_SECRET, which
// `npx atelier callback-secret` prints.
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { Webhook } from 'standardwebhooks'

const webhook = new Webhook(process.env.CALLBACK_SECRET ?? '')
const seen = new Set<unknown>()

const server = createServer(async (request, response) => {
  const body = await text(request)
  try {
    webhook.verify(body, request.headers as Record<string, string>)
  } catch {
    response.writeHead(401).end()
    return
  }
  // A callback may come twice, under the same id.
  const id = request.headers['webhook-id']
  if (!seen.has(id)) console.log(body)
  seen.add(id)
  response.writeHead(204).end()
})

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => console.log('waiting for callbacks at', server.address()))
