import type { DescMessage, MessageShape } from '@bufbuild/protobuf'
import {
  type DeleteImageRequest,
  DeleteImageRequestSchema,
  type EstimateCostRequest,
  type EstimateCostResponse,
  type GenerateImagesRequest,
  GenerateImagesRequestSchema,
  type UploadImageResponse
} from '../gen/atelier/v1/image_service_pb.ts'
import {
  type GetModelRequest,
  GetModelRequestSchema,
  type GetModelResponse,
  type ListModelsRequest,
  type ListModelsResponse
} from '../gen/atelier/v1/model_service_pb.ts'
import type { Task } from '../gen/atelier/v1/task_pb.ts'
import {
  type CancelTaskRequest,
  CancelTaskRequestSchema,
  type GetTaskRequest,
  GetTaskRequestSchema,
  type ListTasksRequest,
  ListTasksRequestSchema,
  type ListTasksResponse,
  type RedeliverCallbackRequest,
  RedeliverCallbackRequestSchema,
  type WatchTaskRequest,
  WatchTaskRequestSchema
} from '../gen/atelier/v1/task_service_pb.ts'
import { requireScope } from './admission/authenticate.ts'
import { normalizeGenerateImages } from './admission/normalize.ts'
import { validate } from './admission/validate.ts'
import type { Call, NeededScope } from './call.ts'
import { gatewayError } from './errors.ts'
import { untilOver } from './events/event-iterators.ts'
import type { GenerationEvent } from './events.ts'
import { type ChooseByModel, withoutSlug } from './invoke/choose-by-model.ts'
import { withVariationPrompt } from './services/create-variations.ts'
import type { EditOrder, VariationOrder } from './services/plan-edit-run.ts'
import { disposeUploads, disposingUploads, type InputSource } from './services/take-inputs.ts'
import type { RequestWays, TaskFilter, TaskOrder } from './services/task-order.ts'

/** Every operation of the server; REST and RPC are two ways to call them. */
export interface Operations {
  generateImages(request: GenerateImagesRequest, call: Call, ways?: RequestWays): AsyncIterable<GenerationEvent>
  /** Takes over the uploads of the order: they are disposed of when the events end or are left, whatever happens. */
  editImages(order: EditOrder, call: Call, ways?: RequestWays): AsyncIterable<GenerationEvent>
  /** Takes over the upload, as `editImages` does. The prompt must be empty. */
  createVariations(order: VariationOrder, call: Call, ways?: RequestWays): AsyncIterable<GenerationEvent>
  /** Accepts a request to run in the background; takes over the uploads of the order, as `editImages` does. */
  createTask(order: TaskOrder, call: Call): Promise<Task>
  getTask(request: GetTaskRequest, call: Call): Promise<Task>
  listTasks(request: ListTasksRequest, call: Call): Promise<ListTasksResponse>
  /** Whole tasks, results and parameters included, newest first. */
  findTasks(filter: TaskFilter, call: Call): Promise<Task[]>
  cancelTask(request: CancelTaskRequest, call: Call): Promise<Task>
  /** The task whenever it has changed, until it is final. */
  watchTask(request: WatchTaskRequest, call: Call): AsyncIterable<Task>
  redeliverCallback(request: RedeliverCallbackRequest, call: Call): Promise<Task>
  deleteImage(request: DeleteImageRequest, call: Call): Promise<void>
  /** Keeps an image for an hour, for edits to refer to. */
  uploadImage(source: AsyncIterable<Uint8Array>, call: Call): Promise<UploadImageResponse>
  estimateCost(request: EstimateCostRequest, call: Call): Promise<EstimateCostResponse>
  listModels(request: ListModelsRequest, call: Call): Promise<ListModelsResponse>
  getModel(request: GetModelRequest, call: Call): Promise<GetModelResponse>
}

export interface Services
  extends Omit<Operations, 'generateImages' | 'editImages' | 'createVariations' | 'estimateCost' | 'listModels' | 'getModel'> {
  generateImages(request: GenerateImagesRequest, call: Call, ways: RequestWays): AsyncIterable<GenerationEvent>
  editImages(order: EditOrder, call: Call, ways: RequestWays): AsyncIterable<GenerationEvent>
  createVariations(order: VariationOrder, call: Call, ways: RequestWays): AsyncIterable<GenerationEvent>
  estimateCost(request: GenerateImagesRequest, call: Call): EstimateCostResponse
  listModels(call: Call): ListModelsResponse
  getModel(request: GetModelRequest, call: Call): GetModelResponse
  chooseByModel: ChooseByModel
}

/**
 * What happens to every request before its service sees it: the key's scope, the schema's rules, the provider that the model's name chooses,
 * one spelling, and a free place.
 */
export function createOperations(options: { maxInFlight: number }, services: Services): Operations {
  let inFlight = 0

  /** The place is taken with the first event that is asked for. */
  function inOnePlace(run: () => AsyncIterable<GenerationEvent>): AsyncIterable<GenerationEvent> {
    const enter = () => {
      if (inFlight >= options.maxInFlight)
        throw gatewayError('OVERLOADED', { limit: options.maxInFlight }, { retryAfterMs: 1000, outcome: 'not_sent' })
      const entered = run()
      inFlight += 1
      return entered
    }
    return untilOver(enter, () => {
      inFlight -= 1
    })
  }

  const admit = <Desc extends DescMessage>(type: Desc, request: MessageShape<Desc>, call: Call, scope: NeededScope = 'generate') => {
    requireScope(call.caller, scope)
    validate(type, request)
  }

  const normalize = (request: GenerateImagesRequest, call: Call) =>
    normalizeGenerateImages(withoutSlug(request, call, services.chooseByModel))

  const admitted = (operation: TaskOrder['operation'], call: Call): TaskOrder['operation'] => {
    if (operation.kind === 'generation') {
      admit(GenerateImagesRequestSchema, operation.request, call)
      return { ...operation, request: normalize(operation.request, call) }
    }
    const given = operation.order.parameters
    const parameters = operation.kind === 'variation' ? withVariationPrompt(given) : given
    admit(GenerateImagesRequestSchema, parameters, call, 'edit')
    const normalized = normalize(parameters, call)
    return operation.kind === 'edit'
      ? { ...operation, order: { ...operation.order, parameters: normalized } }
      : { ...operation, order: { ...operation.order, parameters: normalized } }
  }

  return {
    generateImages: (request, call, ways = {}) =>
      inOnePlace(() => {
        admit(GenerateImagesRequestSchema, request, call)
        return services.generateImages(normalize(request, call), call, ways)
      }),
    editImages: (order, call, ways = {}) =>
      disposingUploads(
        [...order.images, order.mask],
        inOnePlace(() => {
          admit(GenerateImagesRequestSchema, order.parameters, call, 'edit')
          return services.editImages({ ...order, parameters: normalize(order.parameters, call) }, call, ways)
        })
      ),
    createVariations: (order, call, ways = {}) =>
      disposingUploads(
        [order.image],
        inOnePlace(() => {
          const parameters = withVariationPrompt(order.parameters)
          admit(GenerateImagesRequestSchema, parameters, call, 'edit')
          return services.createVariations({ ...order, parameters: normalize(parameters, call) }, call, ways)
        })
      ),
    createTask: async (order, call) => {
      try {
        return await services.createTask({ ...order, operation: admitted(order.operation, call) }, call)
      } finally {
        await disposeUploads(sourcesOf(order.operation))
      }
    },
    getTask: async (request, call) => {
      admit(GetTaskRequestSchema, request, call, 'read_tasks')
      return services.getTask(request, call)
    },
    listTasks: async (request, call) => {
      admit(ListTasksRequestSchema, request, call, 'read_tasks')
      return services.listTasks(request, call)
    },
    findTasks: async (filter, call) => {
      requireScope(call.caller, 'read_tasks')
      return services.findTasks(filter, call)
    },
    cancelTask: async (request, call) => {
      admit(CancelTaskRequestSchema, request, call, anyWork)
      return services.cancelTask(request, call)
    },
    watchTask: (request, call) => {
      admit(WatchTaskRequestSchema, request, call, 'read_tasks')
      return services.watchTask(request, call)
    },
    redeliverCallback: async (request, call) => {
      admit(RedeliverCallbackRequestSchema, request, call, anyWork)
      return services.redeliverCallback(request, call)
    },
    deleteImage: async (request, call) => {
      admit(DeleteImageRequestSchema, request, call, anyWork)
      return services.deleteImage(request, call)
    },
    uploadImage: async (source, call) => {
      requireScope(call.caller, 'edit')
      return services.uploadImage(source, call)
    },
    estimateCost: async ({ request }, call) => {
      requireScope(call.caller, 'generate')
      if (!request) throw gatewayError('MISSING_PARAMETER', { param: 'request' })
      // Not as a part of the outer message, so that errors name parameters as they do for the request itself.
      validate(GenerateImagesRequestSchema, request)
      return services.estimateCost(normalize(request, call), call)
    },
    listModels: async (_, call) => {
      requireScope(call.caller, 'generate')
      return services.listModels(call)
    },
    getModel: async (request, call) => {
      admit(GetModelRequestSchema, request, call)
      return services.getModel({ ...request, name: services.chooseByModel(request.name, call) }, call)
    }
  }
}

/** Whoever may make images of one kind may stop and delete what the organization makes of any. */
const anyWork: NeededScope = ['generate', 'edit']

function sourcesOf(operation: TaskOrder['operation']): (InputSource | undefined)[] {
  if (operation.kind === 'edit') return [...operation.order.images, operation.order.mask]
  return operation.kind === 'variation' ? [operation.order.image] : []
}
