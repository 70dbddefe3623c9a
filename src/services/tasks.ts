import { create } from '@bufbuild/protobuf'
import type { StoredImage } from '../../gen/atelier/v1/stored_pb.ts'
import { type Task, type TaskOperation, TaskOperationSchema, type TaskState, TaskStateSchema } from '../../gen/atelier/v1/task_pb.ts'
import {
  type CancelTaskRequest,
  type GetTaskRequest,
  type ListTasksRequest,
  type ListTasksResponse,
  ListTasksResponseSchema,
  type RedeliverCallbackRequest,
  type WatchTaskRequest
} from '../../gen/atelier/v1/task_service_pb.ts'
import type { Call } from '../call.ts'
import { wireName } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { Links } from '../storage/links.ts'
import type { TaskRow, TaskStateText } from '../storage/schema.ts'
import type { CallbackDispatcher } from '../tasks/callbacks/callback-dispatcher.ts'
import type { TaskRunner } from '../tasks/runner.ts'
import { wholeTask } from '../tasks/store/task-message.ts'
import type { KeptTask, ListTasksFilter, TaskStore } from '../tasks/task-store.ts'
import { readPage } from './page.ts'
import type { TaskFilter, TaskOrder } from './task-order.ts'

export interface TasksDeps {
  store: TaskStore
  runner: Pick<TaskRunner, 'progressOf'>
  links: Links
  dispatcher: Pick<CallbackDispatcher, 'redeliver'>
  /** Records the task and returns its id. */
  accept(order: TaskOrder, call: Call): Promise<string>
  /** Aborts when the server takes its leave: nobody is kept waiting then. */
  draining: AbortSignal
}

/** What callers can do with the tasks of their organization. Every id that is not one of them is TASK_NOT_FOUND. */
export interface Tasks {
  createTask(order: TaskOrder, call: Call): Promise<Task>
  getTask(request: GetTaskRequest, call: Call): Promise<Task>
  listTasks(request: ListTasksRequest, call: Call): Promise<ListTasksResponse>
  findTasks(filter: TaskFilter, call: Call): Promise<Task[]>
  cancelTask(request: CancelTaskRequest, call: Call): Promise<Task>
  watchTask(request: WatchTaskRequest, call: Call): AsyncIterable<Task>
  redeliverCallback(request: RedeliverCallbackRequest, call: Call): Promise<Task>
}

export function createTasks(deps: TasksDeps): Tasks {
  const { store } = deps
  const organizationOf = ({ caller }: Call) => caller.organizationId
  const whole = (kept: KeptTask) => toTask(kept, deps)

  return {
    async createTask(order, call) {
      const id = await deps.accept(order, call)
      return whole(found(await store.find(id, organizationOf(call))))
    },
    async getTask({ id, waitSeconds }, call) {
      if (waitSeconds === 0) return whole(found(await store.find(id, organizationOf(call))))
      const signal = AbortSignal.any([call.signal, deps.draining, AbortSignal.timeout(waitSeconds * 1000)])
      return whole(found(await store.waitFor(id, organizationOf(call), { signal })))
    },
    async listTasks({ states, traceId, ...page }, call) {
      const { rows, nextPageToken } = await readPage<KeptTask, readonly [createdAtMs: number, id: string]>(page, {
        name: 'tasks',
        shape: ['number', 'string'],
        read: (limit, after) =>
          store.list({
            organizationId: organizationOf(call),
            limit,
            ...(after && { before: { createdAtMs: after[0], id: after[1] } }),
            ...(states.length > 0 && { states: states.map(stateText) }),
            ...(traceId !== '' && { traceIds: [traceId] })
          }),
        placeOf: ({ createdAtMs, task }) => [createdAtMs, task.id]
      })
      const tasks = rows.map(({ task }) => ({ ...task, progress: task.progress || deps.runner.progressOf(task.id) }))
      return create(ListTasksResponseSchema, { tasks, nextPageToken })
    },
    async findTasks(filter, call) {
      return (await store.list(toListFilter(filter, organizationOf(call)))).map(whole)
    },
    async cancelTask({ id }, call) {
      return whole(found(await store.cancel(id, organizationOf(call))))
    },
    async *watchTask({ id, afterRevision }, call) {
      const signal = AbortSignal.any([call.signal, deps.draining])
      for (let seen = Number(afterRevision); ; ) {
        const kept = found(await store.waitFor(id, organizationOf(call), { afterRevision: seen, signal }))
        call.signal.throwIfAborted()
        if (deps.draining.aborted) throw gatewayError('SHUTTING_DOWN', {})
        yield whole(kept)
        if (kept.finishedAtMs !== undefined) return
        seen = Number(kept.task.revision)
      }
    },
    async redeliverCallback({ id }, call) {
      const { task, finishedAtMs } = found(await store.find(id, organizationOf(call)))
      if (!task.callback) throw gatewayError('INVALID_PARAMETER', { param: 'id', problem: 'is that of a task without a callback' })
      if (finishedAtMs === undefined)
        throw gatewayError('INVALID_PARAMETER', { param: 'id', problem: 'is that of a task that is not final' })
      await deps.dispatcher.redeliver(id, organizationOf(call))
      return whole(found(await store.find(id, organizationOf(call))))
    }
  }
}

function found(kept: KeptTask | undefined): KeptTask {
  if (!kept) throw gatewayError('TASK_NOT_FOUND', {})
  return kept
}

/** The task with what was asked and what came of it; links last as long as the task. */
export function toTask(kept: KeptTask, { runner, links }: Pick<TasksDeps, 'runner' | 'links'>): Task {
  const { permanentLinks: isPublic } = kept.request
  const expiresAt = Math.floor(kept.expiresAtMs / 1000)
  const linkOf = ({ source, mediaType }: StoredImage) => {
    if (source.case !== 'imageId') return source.value
    const blob = { id: source.value, mediaType, sizeBytes: 0, expiresAt, isPublic }
    return isPublic ? links.permanent(blob) : links.sign(blob, { lifetimeSeconds: Number.POSITIVE_INFINITY })
  }
  return wholeTask(kept, linkOf, runner.progressOf(kept.task.id))
}

function toListFilter({ states, operations, createdFrom, createdTo, ...rest }: TaskFilter, organizationId: string): ListTasksFilter {
  return {
    ...rest,
    organizationId,
    ...(states && { states: states.map(stateText) }),
    ...(operations && { operations: operations.map(operationText) }),
    ...(createdFrom !== undefined && { createdFromMs: createdFrom * 1000 }),
    ...(createdTo !== undefined && { createdToMs: createdTo * 1000 + 999 })
  }
}

function stateText(state: TaskState): TaskStateText {
  return wireName(TaskStateSchema, state) as TaskStateText
}

function operationText(operation: TaskOperation): TaskRow['operation'] {
  return wireName(TaskOperationSchema, operation) as TaskRow['operation']
}
