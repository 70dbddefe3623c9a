import type { Warning } from '../../gen/atelier/v1/image_pb.ts'
import type { GenerateImagesRequest } from '../../gen/atelier/v1/image_service_pb.ts'
import type { TaskOperation, TaskState } from '../../gen/atelier/v1/task_pb.ts'
import type { EditOrder, VariationOrder } from './plan-edit-run.ts'

/** How a request is asked for, besides what it says. */
export interface RequestWays {
  /** The caller's own name for the task. */
  traceId?: string
  /** Whether links to the images are unsigned and last until they are deleted. */
  permanentLinks?: boolean
  /** Whether the caller's client says that it sends a request again whose answer it did not get. */
  isRepetition?: boolean
  /** Warnings about what was changed before the request came here. */
  notes?: readonly Warning[]
}

/** A request to run in the background. Whoever gets it disposes of its uploads. */
export interface TaskOrder {
  operation:
    | { kind: 'generation'; request: GenerateImagesRequest }
    | { kind: 'edit'; order: EditOrder }
    | { kind: 'variation'; order: VariationOrder }
  /** Empty: none. */
  callbackUrl: string
  /** Empty: none. */
  traceId: string
  permanentLinks: boolean
}

/** Which tasks are looked for; what is unset leaves them all in. */
export interface TaskFilter {
  ids?: readonly string[]
  traceIds?: readonly string[]
  states?: readonly TaskState[]
  operations?: readonly TaskOperation[]
  /** Unix seconds, both included. */
  createdFrom?: number
  createdTo?: number
  /** How many of the newest to leave out. */
  offset?: number
  /** At most 100. */
  limit: number
}
