import { createServer } from 'node:http'
import { answers, renderAnswer } from './answers.ts'

/**
 * The image provider behind every target: `fake-upstream.ts PORT`. The first part of the path chooses the answer and the second how many
 * milliseconds to hold it, e.g. `/image/10000/v1/images/generations`.
 */
const documents = new Map(Object.entries(answers).map(([name, answer]) => [name, renderAnswer(answer)]))

const server = createServer((request, response) => {
  const [, name = '', holdMs = '0'] = (request.url ?? '').split('/', 3)
  const document = documents.get(name)
  request.resume().once('end', () => {
    const send = () => {
      if (!document) {
        response.writeHead(404).end()
        return
      }
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': document.length })
      response.end(document)
    }
    if (holdMs === '0') send()
    else setTimeout(send, Number(holdMs))
  })
})
server.maxRequestsPerSocket = 0
server.keepAliveTimeout = 120_000
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
