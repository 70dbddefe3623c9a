import { create, createFileRegistry, type FileRegistry, fromBinary, getOption } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { describe, expect, onTestFinished, test } from 'vitest'
import { wire_name } from '../../gen/atelier/v1/options_pb.ts'
import { Health, HealthCheckResponse_ServingStatus as Status } from '../../gen/grpc/health/v1/health_pb.ts'
import { ServerReflection as ServerReflectionV1 } from '../../gen/grpc/reflection/v1/reflection_pb.ts'
import { ServerReflection as ServerReflectionV1Alpha } from '../../gen/grpc/reflection/v1alpha/reflection_pb.ts'
import { startRpcServer, transports } from '../support/rpc-server.ts'

const services = [
  'atelier.v1.AdminService',
  'atelier.v1.BudgetService',
  'atelier.v1.ContentPolicyService',
  'atelier.v1.CredentialService',
  'atelier.v1.ImageService',
  'atelier.v1.MasterKeyService',
  'atelier.v1.ModelService',
  'atelier.v1.RateLimitService',
  'atelier.v1.TaskService',
  'atelier.v1.UsageService',
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection'
]

describe('health', () => {
  test.each(Object.entries(transports))('is told over %s without a key', async (_, transport) => {
    const { url } = await startRpcServer({})
    expect((await createClient(Health, transport(url)).check({})).status).toBe(Status.SERVING)
  })

  test.each(services)('of %s is told', async (service) => {
    const { url } = await startRpcServer({})
    expect((await createClient(Health, createGrpcTransport({ baseUrl: url })).check({ service })).status).toBe(Status.SERVING)
  })

  test('of a service that does not exist is NOT_FOUND', async () => {
    const { url } = await startRpcServer({})
    const error = await createClient(Health, createGrpcTransport({ baseUrl: url }))
      .check({ service: 'atelier.v1.VideoService' })
      .catch((thrown: unknown) => ConnectError.from(thrown))
    expect(error).toMatchObject({ code: Code.NotFound, rawMessage: 'there is no service atelier.v1.VideoService' })
  })

  test('of every service is listed', async () => {
    const { url } = await startRpcServer({})
    const { statuses } = await createClient(Health, createGrpcTransport({ baseUrl: url })).list({})
    expect(Object.keys(statuses).sort()).toEqual(['', ...services])
  })

  test('is NOT_SERVING while the server is not ready', async () => {
    const { url } = await startRpcServer({}, { unready: () => 'shutting down' })
    expect((await createClient(Health, createGrpcTransport({ baseUrl: url })).check({})).status).toBe(Status.NOT_SERVING)
  })

  test('is watched: every change is told, and the watch ends with the server', async () => {
    let reason: string | undefined
    const { url } = await startRpcServer({}, { unready: () => reason })
    const told: Status[] = []
    for await (const { status } of createClient(Health, createGrpcTransport({ baseUrl: url })).watch({})) {
      told.push(status)
      reason = 'shutting down'
    }
    expect(told).toEqual([Status.SERVING, Status.NOT_SERVING])
  })

  test('of a service that does not exist is watched as SERVICE_UNKNOWN', async () => {
    const { url } = await startRpcServer({})
    const leave = new AbortController()
    onTestFinished(() => leave.abort())
    const watch = createClient(Health, createGrpcTransport({ baseUrl: url })).watch({ service: 'nobody' }, { signal: leave.signal })
    const { value } = await watch[Symbol.asyncIterator]().next()
    expect(value.status).toBe(Status.SERVICE_UNKNOWN)
  })
})

describe.each([
  ['v1', ServerReflectionV1],
  // The two services differ in their package only.
  ['v1alpha', ServerReflectionV1Alpha as unknown as typeof ServerReflectionV1]
])('reflection %s', (_, Service) => {
  type Asked = NonNullable<Parameters<ReturnType<typeof reflect>>[0]>

  function reflect(url: string) {
    const client = createClient(Service, createGrpcTransport({ baseUrl: url }))
    return async (...asked: { case: string; value: unknown }[]) => {
      async function* requests() {
        for (const messageRequest of asked) yield { host: 'here', messageRequest } as object
      }
      const answers = []
      for await (const answer of client.serverReflectionInfo(requests())) answers.push(answer)
      return answers
    }
  }

  async function ask(asked: Asked) {
    const { url } = await startRpcServer({})
    const [answer] = await reflect(url)(asked)
    return answer?.messageResponse
  }

  /** Takes files in the order in which they are given: each before its imports. */
  function registryOf(files: readonly Uint8Array[]): FileRegistry {
    return createFileRegistry(
      create(FileDescriptorSetSchema, { file: files.map((file) => fromBinary(FileDescriptorProtoSchema, file)).reverse() })
    )
  }

  async function filesOf(asked: Asked): Promise<Uint8Array[]> {
    const answer = await ask(asked)
    return answer?.case === 'fileDescriptorResponse' ? answer.value.fileDescriptorProto : []
  }

  test('lists the services', async () => {
    const answer = await ask({ case: 'listServices', value: '*' })
    expect(answer?.case === 'listServicesResponse' && answer.value.service.map(({ name }) => name).sort()).toEqual(services)
  })

  test('gives a service with all that it needs, options included', async () => {
    const files = await filesOf({ case: 'fileContainingSymbol', value: 'atelier.v1.ImageService' })
    const names = files.map((file) => fromBinary(FileDescriptorProtoSchema, file).name)
    expect(names[0]).toBe('atelier/v1/image_service.proto')
    expect(names).toEqual(
      expect.arrayContaining(['atelier/v1/options.proto', 'buf/validate/validate.proto', 'google/protobuf/struct.proto'])
    )

    const registry = registryOf(files)
    expect(registry.getService('atelier.v1.ImageService')?.method.generateImages?.input.typeName).toBe('atelier.v1.GenerateImagesRequest')
    const dallE3 = registry.getEnum('atelier.v1.Model')?.values.find(({ number }) => number === 2)
    expect(dallE3 && getOption(dallE3, wire_name)).toBe('dall-e-3')
  })

  test.each([
    ['a message', 'atelier.v1.GenerateImagesRequest', 'atelier/v1/image_service.proto'],
    ['a method', 'atelier.v1.ModelService.GetModel', 'atelier/v1/model_service.proto'],
    ['a field', 'atelier.v1.GenerateImagesRequest.prompt', 'atelier/v1/image_service.proto'],
    ['an enum', 'atelier.v1.Size', 'atelier/v1/image.proto'],
    ['an enum value', 'atelier.v1.MODEL_DALL_E_3', 'atelier/v1/model.proto'],
    ['an extension', 'atelier.v1.wire_name', 'atelier/v1/options.proto'],
    ['an error detail', 'google.rpc.ErrorInfo', 'google/rpc/error_details.proto'],
    ['a task', 'atelier.v1.Task', 'atelier/v1/task.proto'],
    ['a reason', 'atelier.v1.ErrorReason', 'atelier/v1/error.proto'],
    ['itself', 'grpc.health.v1.HealthCheckResponse.ServingStatus', 'grpc/health/v1/health.proto']
  ])('finds the file of %s', async (_, symbol, name) => {
    const [first] = await filesOf({ case: 'fileContainingSymbol', value: symbol })
    expect(first && fromBinary(FileDescriptorProtoSchema, first).name).toBe(name)
  })

  test('gives a file by its name', async () => {
    const [first, ...rest] = await filesOf({ case: 'fileByFilename', value: 'atelier/v1/options.proto' })
    expect(first && fromBinary(FileDescriptorProtoSchema, first).name).toBe('atelier/v1/options.proto')
    expect(rest.map((file) => fromBinary(FileDescriptorProtoSchema, file).name)).toEqual(['google/protobuf/descriptor.proto'])
  })

  test('finds the file of an extension by type and number, and all numbers of a type', async () => {
    const containingType = 'google.protobuf.EnumValueOptions'
    const [first] = await filesOf({ case: 'fileContainingExtension', value: { containingType, extensionNumber: 50001 } })
    expect(first && fromBinary(FileDescriptorProtoSchema, first).name).toBe('atelier/v1/options.proto')
    expect(await ask({ case: 'allExtensionNumbersOfType', value: containingType })).toMatchObject({
      case: 'allExtensionNumbersResponse',
      value: { baseTypeName: containingType, extensionNumber: [50001] }
    })
    expect(await ask({ case: 'allExtensionNumbersOfType', value: 'atelier.v1.Image' })).toMatchObject({
      case: 'allExtensionNumbersResponse',
      value: { extensionNumber: [] }
    })
  })

  test.each([
    { case: 'fileByFilename', value: '../../etc/passwd' },
    { case: 'fileContainingSymbol', value: 'atelier.v1.Nothing' },
    { case: 'fileContainingExtension', value: { containingType: 'atelier.v1.Image', extensionNumber: 1 } },
    { case: 'allExtensionNumbersOfType', value: 'atelier.v1.Nothing' }
  ])('answers NOT_FOUND to $case of what does not exist', async (asked) => {
    expect(await ask(asked)).toMatchObject({ case: 'errorResponse', value: { errorCode: Code.NotFound } })
  })

  test('answers several requests of one stream, each with its own', async () => {
    const { url } = await startRpcServer({})
    const answers = await reflect(url)({ case: 'listServices', value: '' }, { case: 'fileByFilename', value: 'nothing' })
    expect(
      answers.map(({ validHost, originalRequest, messageResponse }) => [
        validHost,
        originalRequest?.messageRequest.case,
        messageResponse.case
      ])
    ).toEqual([
      ['here', 'listServices', 'listServicesResponse'],
      ['here', 'fileByFilename', 'errorResponse']
    ])
  })

  test('leaves no file out that a client needs', async () => {
    const { url } = await startRpcServer({})
    const ask = reflect(url)
    for (const service of services) {
      const [answer] = await ask({ case: 'fileContainingSymbol', value: service })
      const files = answer?.messageResponse.case === 'fileDescriptorResponse' ? answer.messageResponse.value.fileDescriptorProto : []
      expect(registryOf(files).getService(service)?.typeName).toBe(service)
    }
  })
})
