import type { HandlerContext, ServiceImpl } from '@connectrpc/connect'
import type { AdminService } from '../../gen/atelier/v1/admin_service_pb.ts'
import type { Call } from '../call.ts'
import type { AdminOperations } from '../invoke/admin-operations.ts'

/** Runs an implementation within the call of its request. */
type InCall = <T>(context: HandlerContext, run: (call: Call) => Promise<T>) => Promise<T>

/** AdminService, which is served by RPC alone. */
export function adminService(inCall: InCall, admin: AdminOperations): ServiceImpl<typeof AdminService> {
  return {
    createOrganization: (request, context) => inCall(context, (call) => admin.createOrganization(request, call)),
    getOrganization: (request, context) => inCall(context, (call) => admin.getOrganization(request, call)),
    listOrganizations: (request, context) => inCall(context, (call) => admin.listOrganizations(request, call)),
    updateOrganization: (request, context) => inCall(context, (call) => admin.updateOrganization(request, call)),
    createApiKey: (request, context) => inCall(context, (call) => admin.createApiKey(request, call)),
    getApiKey: (request, context) => inCall(context, (call) => admin.getApiKey(request, call)),
    listApiKeys: (request, context) => inCall(context, (call) => admin.listApiKeys(request, call)),
    updateApiKey: (request, context) => inCall(context, (call) => admin.updateApiKey(request, call)),
    revokeApiKey: (request, context) => inCall(context, (call) => admin.revokeApiKey(request, call))
  }
}
