import { expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import { Health } from '../../gen/grpc/health/v1/health_pb.ts'
import { createRestRoutes, type RestDeps } from '../../src/wire/rest.ts'
import { dialectOf } from '../../src/wire/rest-route.ts'

const routes = createRestRoutes({ maxBodyBytes: 1 }, {} as RestDeps)
const rpcs = [ImageService, ModelService, TaskService, Health].flatMap((service) =>
  service.methods.map((method) => `${service.typeName}.${method.name}`)
)

/** What only HTTP has, and what only RPC has, where a request of any size can bring its files itself on REST; anything else must have both. */
const withoutRpc = ['/metrics', '/images/']
const withoutRoute = [
  'grpc.health.v1.Health.List',
  'grpc.health.v1.Health.Watch',
  'atelier.v1.ImageService.UploadImage',
  // On REST, `wait` does the same.
  'atelier.v1.TaskService.WatchTask'
]

test('every REST route names the RPC that does the same', () => {
  expect(routes.filter(({ rpcs: named }) => named.length === 0).map(({ path }) => path)).toEqual(withoutRpc)
  expect(routes.flatMap(({ rpcs: named }) => named).filter((rpc) => !rpcs.includes(rpc))).toEqual([])
})

test('every RPC has its REST route', () => {
  const routed = routes.flatMap(({ rpcs: named }) => named)
  expect(rpcs.filter((rpc) => !routed.includes(rpc) && !withoutRoute.includes(rpc))).toEqual([])
})

test('only health, readiness and links are open to everybody, and only metrics needs the admin scope', () => {
  expect(routes.filter(({ access }) => access === 'public').map(({ path }) => path)).toEqual(['/healthz', '/readyz', '/images/'])
  expect(routes.filter(({ access }) => access === 'admin').map(({ path }) => path)).toEqual(['/metrics'])
})

test('the enveloped dialect has routes for generations, edits and tasks, with and without /v1', () => {
  const enveloped = routes.filter(({ path }) => dialectOf(path) === 'enveloped').map(({ path, methods }) => `${methods} ${path}`)
  expect(enveloped).toEqual([
    'POST /v1/openai/images/generations',
    'POST /openai/images/generations',
    'POST /v1/openai/images/edits',
    'POST /openai/images/edits',
    'POST /v1/openai/tasks',
    'POST /openai/tasks'
  ])
})

test('no two routes take the same method on the same path', () => {
  const taken = routes.flatMap(({ path, methods }) => methods.map((method) => `${method} ${path}`))
  expect(taken).toEqual([...new Set(taken)])
})
