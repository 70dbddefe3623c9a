import type { MessageInitShape } from '@bufbuild/protobuf'
import { type Client, Code, ConnectError, createClient, type Transport } from '@connectrpc/connect'
import { createConnectTransport } from '@connectrpc/connect-node'
import { AdminService, type CreateApiKeyRequestSchema } from '../../gen/atelier/v1/admin_service_pb.ts'

/** A Connect client's way to the server with this key; with none where it is undefined. */
export function connectWith(url: string, key: string | undefined): Transport {
  return createConnectTransport({
    baseUrl: url,
    httpVersion: '1.1',
    interceptors: [
      (next) => (request) => {
        if (key !== undefined) request.header.set('authorization', `Bearer ${key}`)
        return next(request)
      }
    ]
  })
}

export function adminOf({ url, adminKey }: { url: string; adminKey: string }): Client<typeof AdminService> {
  return createClient(AdminService, connectWith(url, adminKey))
}

/** Makes an API key; unset fields are those of a test. */
export async function createKey(
  server: { url: string; adminKey: string },
  request: MessageInitShape<typeof CreateApiKeyRequestSchema> = {}
): Promise<{ id: string; key: string }> {
  const { apiKey, key } = await adminOf(server).createApiKey({ name: 'of a test', ...request })
  return { id: apiKey?.id ?? '', key }
}

/** The code with which a call fails, and what it says; throws where it doesn't fail. */
export async function refusalOf(answer: Promise<unknown>): Promise<[code: string, message: string]> {
  const error = await answer.then(
    () => undefined,
    (thrown: unknown) => thrown
  )
  if (!(error instanceof ConnectError)) throw new Error('the call was not refused')
  return [Code[error.code], error.rawMessage]
}
