import { create } from '@bufbuild/protobuf'
import { DeleteImageRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { type TaskState, TaskStateSchema } from '../../gen/atelier/v1/task_pb.ts'
import {
  CancelTaskRequestSchema,
  GetTaskRequestSchema,
  ListTasksRequestSchema,
  RedeliverCallbackRequestSchema
} from '../../gen/atelier/v1/task_service_pb.ts'
import { enumValue, wireNames } from '../contract/wire-names.ts'
import { GatewayError, invalidParameter } from '../errors.ts'
import type { Operations } from '../invoke.ts'
import { readQuery, wholeNumber } from './read-query.ts'
import type { Exchange, RestRoute } from './rest-route.ts'
import { sendJson } from './send-json.ts'
import { checkImageId, checkTaskId, checkTraceId } from './task-fields.ts'
import { encodeListedTask, encodeTask } from './task-json.ts'

/** The routes of tasks that exist already, and of the images that they made. */
export function createTaskRoutes({ operations }: { operations: Operations }): RestRoute[] {
  return [
    {
      path: '/v1/tasks',
      methods: ['GET', 'HEAD'],
      rpcs: ['atelier.v1.TaskService.ListTasks'],
      access: 'read_tasks',
      async handle({ request, response, record, call }) {
        const { tasks, nextPageToken } = await operations.listTasks(readListRequest(request.url), call).catch(spellAfter)
        const data = tasks.map(encodeListedTask)
        sendJson(response, record, 200, { object: 'list', data, has_more: nextPageToken !== '', next: nextPageToken || null })
      }
    },
    {
      path: '/v1/tasks/{id}',
      methods: ['GET', 'HEAD'],
      rpcs: ['atelier.v1.TaskService.GetTask'],
      access: 'read_tasks',
      async handle(exchange) {
        const { request, response, record, call } = exchange
        const waitSeconds = wholeNumber(readQuery(request.url, ['wait']), 'wait', [0, 300]) ?? 0
        const task = await operations.getTask(create(GetTaskRequestSchema, { id: taskIdOf(exchange), waitSeconds }), call)
        sendJson(response, record, 200, encodeTask(task))
      }
    },
    {
      path: '/v1/tasks/{id}',
      methods: ['DELETE'],
      rpcs: ['atelier.v1.TaskService.CancelTask'],
      access: ['generate', 'edit'],
      async handle(exchange) {
        const { request, response, record, call } = exchange
        readQuery(request.url, [])
        const task = await operations.cancelTask(create(CancelTaskRequestSchema, { id: taskIdOf(exchange) }), call)
        sendJson(response, record, 200, encodeTask(task))
      }
    },
    {
      path: '/v1/tasks/{id}/callback',
      methods: ['POST'],
      rpcs: ['atelier.v1.TaskService.RedeliverCallback'],
      access: ['generate', 'edit'],
      async handle(exchange) {
        const { request, response, record, call } = exchange
        readQuery(request.url, [])
        const task = await operations.redeliverCallback(create(RedeliverCallbackRequestSchema, { id: taskIdOf(exchange) }), call)
        sendJson(response, record, 202, encodeTask(task))
      }
    },
    {
      path: '/v1/images/{id}',
      methods: ['DELETE'],
      rpcs: ['atelier.v1.ImageService.DeleteImage'],
      access: ['generate', 'edit'],
      async handle({ request, response, call, rest }) {
        readQuery(request.url, [])
        await operations.deleteImage(create(DeleteImageRequestSchema, { imageId: checkImageId(rest) }), call)
        response.writeHead(204)
        response.end()
      }
    }
  ]
}

function taskIdOf({ rest, record }: Exchange): string {
  record.taskId = checkTaskId(rest)
  return rest
}

function readListRequest(url: string | undefined) {
  const query = readQuery(url, ['limit', 'after', 'status', 'trace_id'], ['status'])
  const pageToken = query.get('after') ?? ''
  if (!/^[\x21-\x7e]{0,128}$/.test(pageToken)) throw invalidParameter('after', noPage)
  return create(ListTasksRequestSchema, {
    pageSize: wholeNumber(query, 'limit', [1, 100]) ?? 0,
    pageToken,
    traceId: checkTraceId(query.get('trace_id') ?? ''),
    states: [...new Set(query.getAll('status').flatMap((list) => list.split(',').map(toState)))]
  })
}

function toState(text: string): TaskState {
  const state = enumValue(TaskStateSchema, text.trim())
  if (state !== undefined) return state
  throw invalidParameter('status', `must be among ${wireNames(TaskStateSchema).join(', ')}, not "${text.slice(0, 40)}"`)
}

/** The page token is called `after` here. */
function spellAfter(thrown: unknown): never {
  throw thrown instanceof GatewayError && thrown.param === 'page_token' ? invalidParameter('after', noPage) : thrown
}

const noPage = 'must be the `next` of the page before'
