import type { Cost } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { StoredRequest } from '../../gen/atelier/v1/stored_pb.ts'
import type { DeliveryWish } from '../delivery/deliver.ts'
import type { Plan } from '../routing/plan.ts'
import type { TaskRow } from '../storage/schema.ts'

/** A request that has been planned: everything that is needed to carry it out. */
export interface PlannedRun extends AsyncDisposable {
  operation: TaskRow['operation']
  /** As it was asked for, in its one spelling. */
  request: GenerateImagesRequest
  plan: Plan
  wish: DeliveryWish
  /** Whether links to the images are unsigned and last until they are deleted. */
  permanentLinks: boolean
  /** Adds what the caller is charged to what the provider takes. */
  charge(cost: Cost | undefined, deliveredImages: number): Cost | undefined
  /** Lets go of the input images. The runner does so when they are not needed any more. */
  [Symbol.asyncDispose](): Promise<void>
}

/** A planned request with what is recorded of it. */
export interface RunOrder extends PlannedRun {
  /** The request as it is kept, with uploads named by their digests: also what its fingerprint is made of. */
  stored: StoredRequest
  /** The caller's own name for it; empty where it gave none. */
  traceId: string
  /** Whether the caller's client sends again what it got no answer to. */
  isRepetition: boolean
}
