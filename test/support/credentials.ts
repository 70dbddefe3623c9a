import type { ChosenCredential, Credentials } from '../../src/routing/credentials.ts'

/** The keys that every provider is called with, in this order; the platform's "key" unless told. */
export function fixedCredentials(...keys: ChosenCredential[]): Credentials {
  const all: readonly ChosenCredential[] = keys.length > 0 ? keys : [{ kind: 'platform', id: '', secret: 'key' }]
  return {
    choose: () => all,
    find: ({ kind, id }) => all.find((each) => each.kind === kind && each.id === id),
    callable: () => [],
    providerOf: () => undefined,
    namesOf: () => [],
    recordUse: () => undefined,
    unwrittenUse: () => undefined,
    [Symbol.asyncDispose]: async () => undefined
  }
}
