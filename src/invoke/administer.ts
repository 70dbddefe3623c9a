import type { DescMethod, DescService, Message, MessageInitShape, MessageShape } from '@bufbuild/protobuf'
import { create } from '@bufbuild/protobuf'
import { requireScope } from '../admission/authenticate.ts'
import { validate } from '../admission/validate.ts'
import type { Call } from '../call.ts'
import { toGatewayError } from '../errors.ts'

/** A service of the administrator, ready to be served: it needs the scope `admin`, and is served by RPC alone. */
export interface AdministeredService {
  service: DescService
  perform(method: DescMethod, request: Message, call: Call): Promise<Message>
}

/** What an administrator acts on, told by ids alone: it goes to the log. */
export type Subject = Readonly<Record<string, string | undefined>>

/** How each RPC of a service is carried out. `note` says for the log what it acts on; what is noted later adds to what was noted before. */
export type Administration<Service extends DescService> = {
  [Name in keyof Service['method']]: (
    request: MessageShape<Service['method'][Name]['input']>,
    note: (subject: Subject) => void
  ) => Promise<MessageInitShape<Service['method'][Name]['output']>>
}

/** What happens to every request of an administrator: the key's scope, the schema's rules, and a log line that tells who did what. */
export function administer<Service extends DescService>(service: Service, administration: Administration<Service>): AdministeredService {
  const rpcs: Readonly<
    Record<string, (request: Message, note: (subject: Subject) => void) => Promise<MessageInitShape<DescMethod['output']>>>
  > = administration as never

  return {
    service,
    async perform(method, request, call) {
      requireScope(call.caller, 'admin')
      const serve = rpcs[method.localName]
      if (!serve) throw new Error(`the RPC ${method.name} is carried out by nobody`)
      let subject: Subject = {}
      const log = (outcome: string) => call.log.info({ action: method.name, by: call.caller.apiKeyId, ...subject, outcome }, 'admin')
      try {
        validate(method.input, request)
        const response = await serve(request, (noted) => {
          subject = { ...subject, ...noted }
        })
        log('ok')
        return create(method.output, response)
      } catch (error) {
        log(toGatewayError(error).reason)
        throw error
      }
    }
  }
}
