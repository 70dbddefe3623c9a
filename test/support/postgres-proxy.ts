import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createTemporaryDirectory } from './temporary-directory.ts'

/** What the proxy does to the bytes that come from the client. */
export type ProxyRule =
  | { kind: 'pass' }
  /** Ends the connection instead of passing on what contains the text. */
  | { kind: 'cutBefore'; text: string }
  /** Passes on what contains the text, and ends the connection when the server answers. */
  | { kind: 'cutAfter'; text: string }
  /** Swallows everything, as a network does that loses every packet. */
  | { kind: 'hang' }

export interface PostgresProxy extends AsyncDisposable {
  /** The address of the same database, through the proxy. */
  readonly databaseUrl: string
  rule: ProxyRule
  /** How often a connection was ended by the rule. */
  readonly cuts: number
  /** Ends every connection. */
  cutAll(): void
}

/** Stands between a client and a cluster that `startPostgres` has started. */
export async function startPostgresProxy(clusterUrl: string): Promise<PostgresProxy> {
  const directory = await createTemporaryDirectory()
  const clusterDirectory = decodeURIComponent(/host=([^&]*)/.exec(clusterUrl)?.[1] ?? '')
  const sockets = new Set<Socket>()
  let cuts = 0
  const server = createServer((client) => {
    const upstream = connect(join(clusterDirectory, socketName))
    let isCutByAnswer = false
    const cut = () => {
      cuts++
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', (bytes) => {
      const { rule } = proxy
      if (rule.kind === 'hang') return
      const matches = 'text' in rule && bytes.includes(rule.text)
      if (matches && rule.kind === 'cutBefore') return cut()
      isCutByAnswer ||= matches
      upstream.write(bytes)
    })
    upstream.on('data', (bytes) => {
      if (proxy.rule.kind === 'hang') return
      if (isCutByAnswer) cut()
      else client.write(bytes)
    })
  })
  server.listen(join(directory.path, socketName))
  await once(server, 'listening')
  const proxy: PostgresProxy = {
    databaseUrl: clusterUrl.replace(/host=[^&]*/, `host=${encodeURIComponent(directory.path)}`),
    rule: { kind: 'pass' },
    get cuts() {
      return cuts
    },
    cutAll() {
      for (const socket of sockets) socket.destroy()
    },
    async [Symbol.asyncDispose]() {
      proxy.cutAll()
      await new Promise((resolve) => server.close(resolve))
      await directory[Symbol.asyncDispose]()
    }
  }
  return proxy
}

const socketName = '.s.PGSQL.5432'
