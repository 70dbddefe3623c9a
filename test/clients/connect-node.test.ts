import { afterAll, describe } from 'vitest'
import { testConnectClient } from '../suites/connect-client.ts'
import { startGateway } from '../support/gateway.ts'
import { transports } from '../support/rpc-server.ts'

const gateway = await startGateway()
afterAll(() => gateway[Symbol.asyncDispose]())

describe.each(Object.entries(transports))('%s', (name, transport) => {
  testConnectClient(name, gateway, transport(gateway.url))
})
