import { createServer } from 'node:http'
import { Pool } from 'undici'

/**
 * The least that a proxy in Node can do, and so the measure for this gateway: `bare-proxy.js PORT UPSTREAM`. It reads no header but
 * those it passes on and looks into no body; undici writes the answer straight into the response. It is JavaScript, so that not even
 * the memory for stripping types counts.
 */
const [port, upstream = ''] = process.argv.slice(2)
const { origin, pathname } = new URL(upstream)
const pool = new Pool(origin, { connections: 1024, allowH2: false, headersTimeout: 0, bodyTimeout: 0 })

const server = createServer((request, response) => {
  const { 'content-type': contentType, 'content-length': contentLength, authorization } = request.headers
  const headers = { 'content-type': contentType, 'content-length': contentLength, authorization }
  pool
    .stream({ method: 'POST', path: pathname + request.url, headers, body: request }, ({ statusCode, headers: answered }) => {
      response.writeHead(statusCode, answered)
      return response
    })
    .catch(() => response.destroy())
})
server.maxRequestsPerSocket = 0
server.keepAliveTimeout = 120_000
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })
