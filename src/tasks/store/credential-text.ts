import type { CredentialUse } from '../../call.ts'

/** As rows tell whose key a provider was called with: the kind, and of an organization's own the id behind a colon. */
export function credentialText({ kind, id }: CredentialUse): string {
  return id === '' ? kind : `${kind}:${id}`
}

export function readCredentialText(text: string): CredentialUse {
  const [kind, id = ''] = text.split(':')
  if (kind === 'organization') return { kind, id }
  return { kind: kind === 'request' || kind === 'none' ? kind : 'platform', id: '' }
}
