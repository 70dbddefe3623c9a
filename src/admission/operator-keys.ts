import type { NewApiKey } from './api-key-store.ts'

/** The keys that a first start and `atelier new-key` make: one for callers, one for GET /metrics. */
export const operatorKeys = {
  caller: { name: 'operator', scopes: ['generate'] },
  admin: { name: 'operator-admin', scopes: ['admin'] }
} as const satisfies Record<string, NewApiKey>
