import type { DescService, Message } from '@bufbuild/protobuf'
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect'
import type { Call } from '../call.ts'
import type { AdministeredService } from '../invoke/administer.ts'

/** Runs an implementation within the call of its request. */
type InCall = <T>(context: HandlerContext, run: (call: Call) => Promise<T>) => Promise<T>

/** The implementation of a service of the administrator, for the router. */
export function administeredRpcs(inCall: InCall, { service, perform }: AdministeredService): Partial<ServiceImpl<DescService>> {
  const rpcs = service.methods.map((method) => [
    method.localName,
    (request: Message, context: HandlerContext) => inCall(context, (call) => perform(method, request, call))
  ])
  return Object.fromEntries(rpcs) as Partial<ServiceImpl<DescService>>
}
