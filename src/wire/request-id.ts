import { randomUUID } from 'node:crypto'

/** A fresh name for a request; it tells nothing about other requests. */
export function newRequestId(): string {
  return `req_${randomUUID().replaceAll('-', '')}`
}
