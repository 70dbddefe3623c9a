import type { Scope } from '../call.ts'
import type { NewApiKey } from './api-key-store.ts'

/** What a key may do where nothing else is said: all but operate the server. */
export const callerScopes = ['generate', 'edit', 'read_tasks'] as const satisfies readonly Scope[]

/** The keys that a first start and `atelier new-key` make: one for callers, one for operating the server. */
export const operatorKeys = {
  caller: { name: 'operator', scopes: callerScopes },
  admin: { name: 'operator-admin', scopes: ['admin'] }
} as const satisfies Record<string, NewApiKey>
