import type { ServerResponse } from 'node:http'
import { create } from '@bufbuild/protobuf'
import type { ServiceImpl } from '@connectrpc/connect'
import {
  CancelTaskResponseSchema,
  type CreateTaskRequest,
  CreateTaskResponseSchema,
  GetTaskResponseSchema,
  RedeliverCallbackResponseSchema,
  type TaskService,
  WatchTaskResponseSchema
} from '../../gen/atelier/v1/task_service_pb.ts'
import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { Operations } from '../invoke.ts'
import type { TaskOrder } from '../services/task-order.ts'
import type { Uploads } from '../storage/uploads.ts'
import { requireStream } from './request-headers.ts'
import { openEdit, openVariation } from './rpc-edits.ts'
import type { Exchange, RpcDoor } from './rpc-services.ts'
import { checkTaskId, checkTraceId } from './task-fields.ts'

export interface TaskServiceDeps {
  operations: Operations
  uploads: Uploads
}

/** The task service over the operations. */
export function createTaskService({ enter, inCall, failure }: RpcDoor, deps: TaskServiceDeps): ServiceImpl<typeof TaskService> {
  const { operations } = deps
  return {
    createTask: (request, context) =>
      inCall(context, async (call, { res, record, said }) => {
        const { callbackUrl } = request
        const traceId = checkTraceId(request.traceId) || said.traceId
        const operation = await openOperation(request, call, deps.uploads)
        const task = await operations.createTask({ operation, callbackUrl, traceId, permanentLinks: false }, call)
        record.taskId = task.id
        const response = res as ServerResponse
        response.setHeader('x-atelier-task-id', task.id)
        return create(CreateTaskResponseSchema, { task })
      }),
    getTask: (request, context) =>
      inCall(context, async (call, exchange) => {
        about(request.id, exchange)
        return create(GetTaskResponseSchema, { task: await operations.getTask(request, call) })
      }),
    listTasks: (request, context) =>
      inCall(context, (call) => {
        checkTraceId(request.traceId)
        return operations.listTasks(request, call)
      }),
    cancelTask: (request, context) =>
      inCall(context, async (call, exchange) => {
        about(request.id, exchange)
        return create(CancelTaskResponseSchema, { task: await operations.cancelTask(request, call) })
      }),
    async *watchTask(request, context) {
      const { call, exchange } = enter(context)
      try {
        about(request.id, exchange)
        for await (const task of operations.watchTask(request, call)) yield create(WatchTaskResponseSchema, { task })
      } catch (thrown) {
        throw failure(thrown, call, exchange)
      }
    },
    redeliverCallback: (request, context) =>
      inCall(context, async (call, exchange) => {
        about(request.id, exchange)
        return create(RedeliverCallbackResponseSchema, { task: await operations.redeliverCallback(request, call) })
      })
  }
}

function about(id: string, { record }: Exchange): void {
  record.taskId = checkTaskId(id)
}

/** What the task does; the files of an edit are on the disk then, and belong to whoever gets it. */
async function openOperation({ operation }: CreateTaskRequest, call: Call, uploads: Uploads): Promise<TaskOrder['operation']> {
  switch (operation.case) {
    case 'generation':
      requireStream(operation.value.partialImages)
      return { kind: 'generation', request: operation.value }
    case 'edit':
      requireStream(operation.value.parameters?.partialImages)
      return { kind: 'edit', order: await openEdit(operation.value, call, uploads) }
    case 'variation':
      requireStream(operation.value.parameters?.partialImages)
      return { kind: 'variation', order: await openVariation(operation.value, call, uploads) }
    case undefined:
      throw gatewayError('MISSING_PARAMETER', { param: 'operation' })
  }
}
