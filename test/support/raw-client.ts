import { type AddressInfo, connect, type Socket } from 'node:net'

export interface RawClient extends Disposable {
  readonly socket: Socket
  send(data: string | Uint8Array): void
  /** What has come so far, as soon as it matches; rejects when the connection closes without that. */
  received(pattern: RegExp | string): Promise<string>
  /** Everything that came, once the connection is closed. */
  closed(): Promise<string>
}

/** A TCP connection on which a test writes bytes as it likes. */
export async function connectRaw({ port }: Pick<AddressInfo, 'port'>): Promise<RawClient> {
  const socket = connect({ host: '127.0.0.1', port })
  let text = ''
  let isClosed = false
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const check of waiting) check()
  }
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    wake()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    isClosed = true
    wake()
  })
  const until = (isDone: () => boolean) =>
    new Promise<string>((resolve, reject) => {
      const check = () => {
        if (!isDone() && !isClosed) return
        waiting.delete(check)
        if (isDone()) resolve(text)
        else reject(new Error(`the connection closed after ${JSON.stringify(text)}`))
      }
      waiting.add(check)
      check()
    })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject)
  })
  return {
    socket,
    send: (data) => void socket.write(data),
    received: (pattern) => until(() => (typeof pattern === 'string' ? text.includes(pattern) : pattern.test(text))),
    closed: () => until(() => isClosed),
    [Symbol.dispose]: () => socket.destroy()
  }
}

/** Sends data in single bytes, each in a packet of its own. */
export async function sendByteByByte(client: RawClient, data: string | Uint8Array): Promise<void> {
  client.socket.setNoDelay(true)
  for (const byte of Buffer.from(data)) {
    client.send(Buffer.of(byte))
    await new Promise((resolve) => setImmediate(resolve))
  }
}
