import type { CredentialKind } from '../../gen/atelier/v1/credential_pb.ts'
import type { Call, CredentialUse } from '../call.ts'
import { credentialKind } from './credential-kind.ts'

/** With whose keys the parts of a request are served: of each part the key that it was last called with. */
export interface CredentialNotes {
  /** Notes the key that a part is called with now, and tells the caller. */
  note(position: number, use: CredentialUse): void
  uses(): CredentialUse[]
  /** Without repetition. */
  kinds(): CredentialKind[]
}

/** `tell` hears of every change. */
export function createCredentialNotes(tell: Call['calledWith']): CredentialNotes {
  const byPart = new Map<number, CredentialUse>()
  const uses = () => {
    const all = [...byPart.values()]
    return all.length < 2 ? all : [...new Map(all.map((use) => [`${use.kind} ${use.id}`, use])).values()]
  }
  return {
    note(position, { kind, id }) {
      byPart.set(position, { kind, id })
      tell?.(uses())
    },
    uses,
    kinds: () => [...new Set(uses().map(({ kind }) => credentialKind(kind)))]
  }
}
