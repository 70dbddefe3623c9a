import { gatewayError } from '../../errors.ts'
import { UntrustedUrlError, type UntrustedUrlFetcher } from '../../upstream/untrusted-url.ts'

const maxLength = 2048
const rule = 'callbacks go to https addresses on the internet, and to those that egress.allow lists'

/**
 * Throws INVALID_PARAMETER for a URL to which no callback will ever be sent: too long, not https, with credentials, or at an address or a
 * port that is not allowed. A host name is resolved only when something is sent to it.
 */
export function checkCallbackUrl(url: string, deps: { fetcher: Pick<UntrustedUrlFetcher, 'checkPost'> }): void {
  if (url.length > maxLength) throw invalid(`the url has ${url.length} characters, and at most ${maxLength} are accepted`)
  try {
    deps.fetcher.checkPost(url)
  } catch (error) {
    throw error instanceof UntrustedUrlError ? invalid(`${error.message}: ${rule}`) : error
  }
}

function invalid(problem: string) {
  return gatewayError('INVALID_PARAMETER', { param: 'callback_url', problem })
}
