import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { type Task, TaskOperation, TaskStateSchema } from '../../gen/atelier/v1/task_pb.ts'
import type { Caller } from '../call.ts'
import { isObject } from '../contract/json-object.ts'
import { wireName } from '../contract/wire-names.ts'
import { gatewayError, invalidParameter } from '../errors.ts'
import type { Operations } from '../invoke.ts'
import type { TaskFilter } from '../services/task-order.ts'
import { encodeCallback } from '../tasks/callbacks/callback-body.ts'
import { callbackContent } from './callback-content.ts'
import { readJsonBody } from './read-body.ts'
import type { RestRoute } from './rest-route.ts'
import { sendJson } from './send-json.ts'
import { encodeParameters } from './task-json.ts'

/** Looks tasks up in the enveloped dialect: one by `retrieve`, or a page of them by `retrieve_batch`. */
export function createEnvelopedTaskRoutes(options: { maxBodyBytes: number }, { operations }: { operations: Operations }): RestRoute[] {
  const handle: RestRoute['handle'] = async ({ request, response, record, call }) => {
    const body = await readJsonBody(request, options.maxBodyBytes)
    if (!isObject(body)) throw gatewayError('MALFORMED_BODY', { problem: 'it must be a JSON object' })
    const find = async (filter: TaskFilter) => (await operations.findTasks(filter, call)).map((task) => encodeItem(task, call.caller))
    switch (body.action) {
      case 'retrieve': {
        const [item = {}] = await find(readOne(body))
        sendJson(response, record, 200, item)
        return
      }
      case 'retrieve_batch': {
        const filter = readBatch(body, call.caller)
        const items = filter ? await find(filter) : []
        sendJson(response, record, 200, { items, count: items.length })
        return
      }
      default: {
        const got = body.action === undefined ? 'nothing' : JSON.stringify(body.action).slice(0, 60)
        throw invalidParameter('action', `must be "retrieve" or "retrieve_batch", not ${got}`)
      }
    }
  }
  const rpcs = ['atelier.v1.TaskService.GetTask', 'atelier.v1.TaskService.ListTasks']
  return ['/v1/openai/tasks', '/openai/tasks'].map((path) => ({ path, methods: ['POST'], rpcs, access: 'read_tasks', handle }))
}

function readOne({ id = null, trace_id: traceId = null }: JsonObject): TaskFilter {
  const given = traceId === null ? readText(id, 'id') : readText(traceId, 'trace_id')
  if (given === undefined) throw gatewayError('MISSING_PARAMETER', { param: 'id' })
  return traceId === null ? { ids: [given], limit: 1 } : { traceIds: [given], limit: 1 }
}

/** Undefined where nothing can fit. */
function readBatch(body: JsonObject, { organizationId }: Caller): TaskFilter | undefined {
  const ids = readTexts(body.ids ?? null, 'ids')
  const traceIds = readTexts(body.trace_ids ?? null, 'trace_ids')
  const type = readText(body.type ?? null, 'type')
  const owners = ['application_id', 'user_id'].map((param) => readText(body[param] ?? null, param))
  const createdFrom = readNumber(body.created_at_min ?? null, 'created_at_min')
  const createdTo = readNumber(body.created_at_max ?? null, 'created_at_max')
  const filter: TaskFilter = {
    ...(ids && { ids }),
    ...(traceIds && { traceIds }),
    ...(type !== undefined && { operations: operationsOf(type) }),
    ...(createdFrom !== undefined && { createdFrom: Math.ceil(createdFrom) }),
    ...(createdTo !== undefined && { createdTo: Math.floor(createdTo) }),
    offset: readWhole(body.offset ?? null, 'offset', [0, 1_000_000]) ?? 0,
    limit: readWhole(body.limit ?? null, 'limit', [1, maxItems]) ?? 12
  }
  return owners.some((owner) => owner !== undefined && owner !== organizationId) ? undefined : filter
}

function encodeItem(task: Task, { organizationId, apiKeyId }: Caller): JsonObject {
  const { id, traceId, operation, state, createdAt, finishedAt } = task
  const content = callbackContent(task)
  return {
    _id: id,
    id,
    trace_id: traceId || null,
    type: types[operation] ?? null,
    status: wireName(TaskStateSchema, state) ?? null,
    application_id: organizationId,
    user_id: organizationId,
    credential_id: apiKeyId,
    created_at: Number(createdAt),
    ...(finishedAt !== undefined && { finished_at: Number(finishedAt), duration: Number(finishedAt - createdAt) }),
    request: encodeParameters(task),
    ...(content && { response: JSON.parse(encodeCallback(content)) as JsonObject })
  }
}

const types: Readonly<Record<TaskOperation, string | undefined>> = {
  [TaskOperation.UNSPECIFIED]: undefined,
  [TaskOperation.GENERATION]: 'images_generations',
  [TaskOperation.EDIT]: 'images_edits',
  [TaskOperation.VARIATION]: 'images_variations'
}

function operationsOf(type: string): TaskOperation[] {
  const all = [TaskOperation.GENERATION, TaskOperation.EDIT, TaskOperation.VARIATION]
  if (type === 'images') return all
  const operation = all.find((candidate) => types[candidate] === type)
  if (operation !== undefined) return [operation]
  throw invalidParameter('type', `must be images, ${all.map((candidate) => types[candidate]).join(', ')}, not "${type.slice(0, 40)}"`)
}

/** As many as one look-up brings. */
const maxItems = 100

function readTexts(value: JsonValue, param: string): string[] | undefined {
  if (value === null) return undefined
  if (!Array.isArray(value)) throw invalidParameter(param, 'must be an array of strings')
  if (value.length > maxItems) throw invalidParameter(param, `must hold at most ${maxItems} strings, not ${value.length}`)
  return value.flatMap((item, index) => readText(item, `${param}[${index}]`) ?? [])
}

/** What no task can be called finds none; databases would not even take it. */
function readText(value: JsonValue, param: string): string | undefined {
  if (value === null) return undefined
  if (typeof value !== 'string') throw invalidParameter(param, 'must be a string')
  if (value.length > 255) throw invalidParameter(param, 'must be no longer than 255 characters')
  return value.toWellFormed().replaceAll('\0', '\ufffd')
}

function readNumber(value: JsonValue, param: string): number | undefined {
  if (value === null) return undefined
  if (typeof value === 'number' && Math.abs(value) <= latestSeconds) return value
  throw invalidParameter(param, 'must be a time in Unix seconds')
}

/** The last moment that JavaScript has a date for. */
const latestSeconds = 8_640_000_000_000

function readWhole(value: JsonValue, param: string, [least, most]: readonly [number, number]): number | undefined {
  if (value === null) return undefined
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value
  throw invalidParameter(param, `must be a whole number from ${least} to ${most}`)
}
