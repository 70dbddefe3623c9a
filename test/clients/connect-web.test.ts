import type { Transport } from '@connectrpc/connect'
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web'
import { afterAll, describe } from 'vitest'
import { testConnectClient } from '../suites/connect-client.ts'
import { startGateway } from '../support/gateway.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

const baseUrl = gateway.url
const transports: Record<string, Transport> = {
  'Connect with JSON': createConnectTransport({ baseUrl }),
  'Connect with GET for reads': createConnectTransport({ baseUrl, useHttpGet: true }),
  'Connect in binary': createConnectTransport({ baseUrl, useBinaryFormat: true }),
  'gRPC-Web': createGrpcWebTransport({ baseUrl }),
  'gRPC-Web with JSON': createGrpcWebTransport({ baseUrl, useBinaryFormat: false })
}

describe.each(Object.entries(transports))('%s', (name, transport) => {
  testConnectClient(name, gateway, transport)
})
