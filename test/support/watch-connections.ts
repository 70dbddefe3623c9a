import { subscribe, unsubscribe } from 'node:diagnostics_channel'

/** Counts the TCP connections that this process tries to open, wherever they lead. */
export function watchConnections(): { attempts: number } & Disposable {
  const onSocket = () => {
    watch.attempts++
  }
  const watch = {
    attempts: 0,
    [Symbol.dispose]() {
      unsubscribe('net.client.socket', onSocket)
    }
  }
  subscribe('net.client.socket', onSocket)
  return watch
}
