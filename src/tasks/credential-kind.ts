import { CredentialKind } from '../../gen/atelier/v1/credential_pb.ts'
import type { CredentialUse } from '../call.ts'

/** What messages call a kind of credential. */
export function credentialKind(kind: CredentialUse['kind']): CredentialKind {
  return kinds[kind]
}

const kinds = {
  organization: CredentialKind.ORGANIZATION,
  platform: CredentialKind.PLATFORM,
  request: CredentialKind.REQUEST,
  none: CredentialKind.NONE
} as const satisfies Record<CredentialUse['kind'], CredentialKind>

/** What `credentialKind` made, of a credential that is not told any more. */
export function readCredentialKind(value: CredentialKind): CredentialUse {
  const kind = (Object.keys(kinds) as CredentialUse['kind'][]).find((each) => kinds[each] === value)
  return { kind: kind ?? 'platform', id: '' }
}
