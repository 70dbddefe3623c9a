import { createHmac } from 'node:crypto'

/**
 * The headers by which a receiver recognises a callback and verifies it, as Standard Webhooks 1.0.0 has them. The id stays the same for
 * every try, the timestamp is that of this one. Each secret adds a signature.
 */
export function callbackSignature(
  callback: { id: string; body: string; atMs: number },
  secrets: readonly string[]
): { 'webhook-id': string; 'webhook-timestamp': string; 'webhook-signature': string } {
  const timestamp = String(Math.floor(callback.atMs / 1000))
  const signed = `${callback.id}.${timestamp}.${callback.body}`
  const signatures = secrets.map((secret) => `v1,${createHmac('sha256', keyOf(secret)).update(signed).digest('base64')}`)
  return { 'webhook-id': callback.id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}

function keyOf(secret: string): Buffer {
  return Buffer.from(secret.slice('whsec_'.length), 'base64')
}
