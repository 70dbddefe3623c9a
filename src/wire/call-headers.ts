import type { IncomingHttpHeaders } from 'node:http'
import type { Authenticated } from '../admission/authenticate.ts'
import type { Call, NeededScope, Scope } from '../call.ts'
import { readPortkeyHeaders } from './portkey-headers.ts'
import type { ProviderChoices } from './provider-choice.ts'

/** What a request's headers say about its call, on REST and RPC alike. */
export interface CallHeaders extends Pick<Call, 'choice' | 'metadata'> {
  /** The caller's own name for the request; empty where it gave none. */
  traceId: string
  /** Unix milliseconds after which the caller waits no longer; Infinity where these headers do not say. */
  deadlineMs: number
}

/** What the request wants: by the scope that it takes, and by the full names of the RPCs that do the same. */
export interface Wanted {
  scope: NeededScope
  rpcs: readonly string[]
}

/** Reads them. Throws what they cannot mean; which provider is chosen matters only where models are used. */
export function readCallHeaders(
  headers: IncomingHttpHeaders,
  { caller, providerKey }: Authenticated,
  { scope, rpcs }: Wanted,
  choices: ProviderChoices
): CallHeaders {
  const asked = readPortkeyHeaders(headers)
  const { traceId, metadata, timeoutMs } = asked
  const concernsModels = typeof scope === 'string' ? isForModels(scope) : scope.some(isForModels)
  const callsProvider = rpcs.some((rpc) => providerRpcs.has(rpc))
  const chooser = providerKey === undefined ? { caller } : { caller, providerKey }
  const choice = concernsModels ? choices.ofHeaders(asked, chooser, callsProvider) : undefined
  const read: CallHeaders = { traceId, deadlineMs: timeoutMs === undefined ? Number.POSITIVE_INFINITY : Date.now() + timeoutMs }
  if (metadata !== undefined) read.metadata = metadata
  if (choice) read.choice = choice
  return read
}

function isForModels(scope: Scope): boolean {
  return scope === 'generate' || scope === 'edit'
}

/** Those that call a provider, or tell what such a call would cost. */
const providerRpcs: ReadonlySet<string> = new Set([
  'atelier.v1.ImageService.GenerateImages',
  'atelier.v1.ImageService.StreamGenerateImages',
  'atelier.v1.ImageService.EditImages',
  'atelier.v1.ImageService.StreamEditImages',
  'atelier.v1.ImageService.CreateVariations',
  'atelier.v1.ImageService.EstimateCost',
  'atelier.v1.TaskService.CreateTask'
])
