/**
 * `refused`: not a target that may be reached; nothing was sent there. `failed`: unreachable, or not a whole answer of status 200.
 * The message names the host at most: no path, no query, no resolved address.
 */
export class UntrustedUrlError extends Error {
  readonly kind: 'refused' | 'failed' | 'too_large' | 'timeout'

  constructor(kind: UntrustedUrlError['kind'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'UntrustedUrlError'
    this.kind = kind
  }
}
