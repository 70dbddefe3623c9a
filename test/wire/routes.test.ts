import { expect, test } from 'vitest'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { Health } from '../../gen/grpc/health/v1/health_pb.ts'
import { createRestRoutes, type RestDeps } from '../../src/wire/rest.ts'

const routes = createRestRoutes({ maxBodyBytes: 1 }, {} as RestDeps)
const rpcs = [ImageService, ModelService, Health].flatMap((service) =>
  service.methods.map((method) => `${service.typeName}.${method.name}`)
)

/** What only HTTP has, and what only RPC has, where a request of any size can bring its files itself on REST; anything else must have both. */
const withoutRpc = ['/metrics', '/images/']
const withoutRoute = ['grpc.health.v1.Health.List', 'grpc.health.v1.Health.Watch', 'atelier.v1.ImageService.UploadImage']

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
