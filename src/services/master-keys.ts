import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { type MasterKeySchema, MasterKeySource, type MasterKeyStatus, MasterKeyStatusSchema } from '../../gen/atelier/v1/master_key_pb.ts'
import {
  type ResealRequest,
  type ResealResponse,
  ResealResponseSchema,
  type RotateMasterKeyResponse,
  RotateMasterKeyResponseSchema
} from '../../gen/atelier/v1/master_key_service_pb.ts'
import { gatewayError } from '../errors.ts'
import type { MasterKey } from '../storage/master-key.ts'
import { orUnavailable } from '../storage/or-unavailable.ts'
import { isSealedPlace, type Reseal, type SealedCount, type SealedPlace } from '../storage/reseal.ts'
import { createPlaceTokens } from './place-tokens.ts'

/** The operator's way to the master keys. No answer holds a key. Throws DATABASE_UNAVAILABLE where the database fails. */
export interface MasterKeys {
  status(): Promise<MasterKeyStatus>
  /** Throws INVALID_PARAMETER where the key is not this server's to change. */
  rotate(): Promise<RotateMasterKeyResponse>
  /** Throws INVALID_PARAMETER for a token that did not come from here. */
  reseal(request: ResealRequest): Promise<ResealResponse>
}

export function createMasterKeys({ masterKey, reseal }: { masterKey: MasterKey; reseal: Reseal }): MasterKeys {
  return {
    async status() {
      const counts = await orUnavailable(reseal.count())
      const known = masterKey.ids()
      const ids = new Set([...known, ...counts.map(({ keyId }) => keyId)])
      return create(MasterKeyStatusSchema, {
        source: masterKey.source === 'file' ? MasterKeySource.FILE : MasterKeySource.CONFIG,
        keys: [...ids].map(
          (id): MessageInitShape<typeof MasterKeySchema> => ({
            id,
            current: id === known[0],
            known: known.includes(id),
            neededFor: counts.filter(({ keyId }) => keyId === id).map(({ what, values }) => ({ kind: what, count: BigInt(values) }))
          })
        ),
        outdated: BigInt(outdatedAmong(counts))
      })
    },
    async rotate() {
      if (masterKey.source === 'configuration') throw gatewayError('INVALID_PARAMETER', { param: 'master_key', problem: configuredText })
      if (!masterKey.hasRoom()) throw gatewayError('INVALID_PARAMETER', { param: 'master_key', problem: fullText })
      await masterKey.rotate()
      return create(RotateMasterKeyResponseSchema, { keyId: masterKey.ids()[0] })
    },
    async reseal({ continueToken }) {
      const begun = continueTokens.read(continueToken)
      let place = begun && toPlace(begun)
      let [resealed, failed] = [0, 0]
      for (const endMs = performance.now() + maxStepsMs; ; ) {
        const step = await orUnavailable(reseal.step(place))
        resealed += step.resealed
        failed += step.failed
        place = step.next
        if (place === undefined || performance.now() >= endMs) break
      }
      return create(ResealResponseSchema, {
        resealed: BigInt(resealed),
        failed: BigInt(failed),
        ...(place === undefined
          ? { left: BigInt(outdatedAmong(await orUnavailable(reseal.count()))) }
          : { continueToken: continueTokens.write([place.table, place.column, place.afterId]) })
      })
    }
  }

  function outdatedAmong(counts: readonly SealedCount[]): number {
    const [current] = masterKey.ids()
    return counts.reduce((sum, { keyId, values }) => sum + (keyId === current ? 0 : values), 0)
  }
}

const configuredText =
  'comes from the configuration, and is changed there: first add the new key to previous_master_keys (ATELIER_PREVIOUS_MASTER_KEYS) of ' +
  'every process, then make it the master_key (ATELIER_MASTER_KEY) of one after the other, with the old one among the previous ones'
const fullText =
  'has as many keys before it as the file may hold: take out those that `atelier master-key status` shows to be needed for nothing'

type PlaceValues = readonly [table: string, column: string, afterId: string]

const continueTokens = createPlaceTokens<PlaceValues>({
  name: 'reseal',
  shape: ['string', 'string', 'string'],
  param: 'continue_token',
  source: 'the continue_token of the answer before',
  exists: (values) => isSealedPlace(toPlace(values))
})

function toPlace([table, column, afterId]: PlaceValues): SealedPlace {
  return { table, column, afterId }
}

/** Short enough that whoever waits sees that something happens. */
const maxStepsMs = 1_000
