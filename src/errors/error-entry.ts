import type { Code } from '@connectrpc/connect'

/** What a reason comes to on each protocol, and in the documentation. */
export interface ErrorEntry {
  /** gRPC and Connect code. */
  rpc: Code
  /** HTTP status on REST. */
  http: number
  /** `error.type` on REST. */
  type: string
  /** `error.code` on REST. */
  code: string | null
  /** Whether the same request may succeed when it is sent again. */
  retryable: boolean
  /** Whether the provider may have billed the request. */
  billed: 'no' | 'possible'
  /** The message; each brace names a field of `gatewayError`. */
  message: string
  /** Meaning and advice for docs/errors.md. */
  meaning: string
}
