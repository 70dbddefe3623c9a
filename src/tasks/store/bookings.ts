import { ImageOutcome } from '../../../gen/atelier/v1/image_pb.ts'
import { randomBase62 } from '../../storage/random-id.ts'
import type { AttemptRow, LedgerEntryRow } from '../../storage/schema.ts'
import type { AttemptEnding } from '../task-store.ts'
import type { UsageLabels } from './usage-labels.ts'

/** Whose money it is, and for what. */
export type Booked = Pick<
  LedgerEntryRow,
  'organization_id' | 'api_key_id' | 'task_id' | 'attempt_id' | 'provider' | 'model' | 'credential'
> &
  UsageLabels

/** What an attempt came to. */
export interface Settled {
  state: Extract<AttemptRow['state'], 'succeeded' | 'rejected' | 'unknown'>
  /** Null where no price is known. */
  costMicros: number | null
  basis: LedgerEntryRow['basis']
  images: number
  pixels: number
  inputTokens: number
  outputTokens: number
}

/** What an ending means for the money. What it cost without saying so counts as what was reserved; a price that nobody knows stays unknown. */
export function settled(ending: AttemptEnding, reservedMicros: number | null): Settled {
  const nothingMade = { images: 0, pixels: 0, inputTokens: 0, outputTokens: 0 }
  if (ending.outcome === 'unknown') return { state: 'unknown', costMicros: reservedMicros, basis: 'unknown', ...nothingMade }
  if (ending.outcome !== 'succeeded') return { state: 'rejected', costMicros: 0, basis: 'none', ...nothingMade }
  const { images, usage, cost } = ending.result
  const actualMicros = cost?.totalMicros === undefined ? undefined : toAmount(cost.totalMicros)
  return {
    state: 'succeeded',
    costMicros: actualMicros ?? reservedMicros,
    basis: actualMicros === undefined ? 'unknown' : 'actual',
    images: images.filter(({ outcome }) => outcome === ImageOutcome.DELIVERED).length,
    pixels: deliveredPixels(ending),
    inputTokens: toAmount(usage?.inputTokens ?? 0n) ?? 0,
    outputTokens: toAmount(usage?.outputTokens ?? 0n) ?? 0
  }
}

/** What is the same in all bookings that set something aside. */
export const reservation = {
  kind: 'reserve',
  spent_micros: 0,
  basis: 'none',
  images: 0,
  pixels: 0,
  input_tokens: 0,
  output_tokens: 0,
  unpriced: 0
} as const satisfies Partial<LedgerEntryRow>

/** The rest of the booking that sets the most that an attempt can cost aside. `isFirst`: whether the request itself is counted with it. */
export function reserveEntry(
  booked: Booked,
  reservedMicros: number | null,
  isFirst: boolean,
  nowMs: number
): Omit<LedgerEntryRow, keyof typeof reservation> {
  const { operation, end_user, metadata, organization_id, api_key_id, task_id, attempt_id, provider, model, credential } = booked
  return {
    id: `${attempt_id}_reserved`,
    organization_id,
    api_key_id,
    task_id,
    attempt_id,
    provider,
    model,
    credential,
    reserved_micros: reservedMicros ?? 0,
    priced: reservedMicros === null ? 0 : 1,
    operation,
    end_user,
    metadata,
    requests: isFirst ? 1 : 0,
    at_ms: nowMs
  }
}

/** Puts what an attempt cost in the place of what was set aside for it. */
export function settleEntry(booked: Booked, reservedMicros: number | null, closed: Settled, nowMs: number): LedgerEntryRow {
  return entry(
    `${booked.attempt_id}_closed`,
    booked,
    {
      kind: closed.state === 'rejected' ? 'release' : 'settle',
      reserved_micros: -(reservedMicros ?? 0) || 0,
      spent_micros: closed.costMicros ?? 0,
      priced: (closed.state === 'rejected' ? reservedMicros : closed.costMicros) === null ? 0 : 1,
      unpriced: isUnpriced(closed.costMicros)
    },
    closed,
    nowMs
  )
}

/** Adds to what was booked for a closed attempt the difference to what it did cost. */
export function correctEntry(booked: Booked, bookedMicros: number | null, closed: Settled, nowMs: number): LedgerEntryRow {
  const spent = (closed.costMicros ?? 0) - (bookedMicros ?? 0)
  const unpriced = isUnpriced(closed.costMicros) - isUnpriced(bookedMicros)
  const id = `${booked.attempt_id}_${randomBase62(8)}`
  const priced = closed.costMicros === null ? 0 : 1
  return entry(id, booked, { kind: 'correct', spent_micros: spent, priced, unpriced }, closed, nowMs)
}

type Amounts = Pick<LedgerEntryRow, 'kind' | 'priced'> &
  Pick<LedgerEntryRow, 'spent_micros' | 'unpriced'> &
  Partial<Pick<LedgerEntryRow, 'reserved_micros'>>

/** The ids make sure that nothing is reserved or settled twice. */
function entry(id: string, booked: Booked, amounts: Amounts, of: Settled, nowMs: number): LedgerEntryRow {
  const { operation, end_user, metadata, organization_id, api_key_id, task_id, attempt_id, provider, model, credential } = booked
  return {
    id,
    organization_id,
    api_key_id,
    task_id,
    attempt_id,
    kind: amounts.kind,
    provider,
    model,
    credential,
    reserved_micros: amounts.reserved_micros ?? 0,
    spent_micros: amounts.spent_micros,
    priced: amounts.priced,
    basis: of.basis,
    images: of.images,
    pixels: of.pixels,
    input_tokens: of.inputTokens,
    output_tokens: of.outputTokens,
    operation,
    end_user,
    metadata,
    requests: 0,
    unpriced: amounts.unpriced,
    at_ms: nowMs
  }
}

function isUnpriced(costMicros: number | null): 0 | 1 {
  return costMicros === null ? 1 : 0
}

/** Of each image what its file says, else what the provider does, else what was asked for. */
function deliveredPixels({ result, blobs, askedPixels = 0 }: Extract<AttemptEnding, { outcome: 'succeeded' }>): number {
  const { width = 0, height = 0 } = result.resolved?.size ?? {}
  let sum = 0
  for (const { outcome, source } of result.images) {
    if (outcome !== ImageOutcome.DELIVERED) continue
    const ofFile = source.case === 'imageId' ? blobs.find(({ blob }) => blob.id === source.value)?.pixels : 0
    const stated = [ofFile, width * height, askedPixels]
    sum += stated.find((pixels) => pixels !== undefined && pixels > 0 && pixels <= mostOfAnything) ?? 0
  }
  return sum
}

/** Undefined for a figure that no provider can mean. */
function toAmount(figure: bigint): number | undefined {
  return figure >= 0n && figure <= BigInt(mostOfAnything) ? Number(figure) : undefined
}

/** A million US dollars. Whatever is stated beyond that is wrong, and would keep the rest from being added up. */
const mostOfAnything = 1e12
