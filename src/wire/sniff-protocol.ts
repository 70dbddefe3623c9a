import type { Socket } from 'node:net'

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

/**
 * Finds out from a connection's first bytes which protocol it speaks, and puts them back. Answers 'nothing' for a connection that ends,
 * fails, or sends too little within the time limit.
 */
export function sniffProtocol(socket: Socket, timeoutMs: number): Promise<'h1' | 'h2' | 'nothing'> {
  return new Promise((resolve) => {
    let head: Buffer = Buffer.alloc(0)
    const decide = (protocol: 'h1' | 'h2' | 'nothing') => {
      clearTimeout(timer)
      socket.off('data', read).off('end', stop).off('close', stop)
      socket.pause()
      // Put back once: whoever puts bytes back while it still listens is given them again at once, and so for ever.
      if (protocol !== 'nothing') socket.unshift(head)
      resolve(protocol)
    }
    const read = (chunk: Buffer) => {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk])
      const length = Math.min(head.length, preface.length)
      if (preface.compare(head, 0, length, 0, length) !== 0) decide('h1')
      else if (length === preface.length) decide('h2')
    }
    const stop = () => decide('nothing')
    const timer = setTimeout(stop, timeoutMs)
    socket.on('data', read).once('end', stop).once('close', stop)
  })
}
