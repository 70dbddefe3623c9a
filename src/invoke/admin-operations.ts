import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf'
import {
  type CreateApiKeyRequest,
  CreateApiKeyRequestSchema,
  type CreateApiKeyResponse,
  type CreateOrganizationRequest,
  CreateOrganizationRequestSchema,
  type CreateOrganizationResponse,
  CreateOrganizationResponseSchema,
  type GetApiKeyRequest,
  GetApiKeyRequestSchema,
  type GetApiKeyResponse,
  GetApiKeyResponseSchema,
  type GetOrganizationRequest,
  GetOrganizationRequestSchema,
  type GetOrganizationResponse,
  GetOrganizationResponseSchema,
  type ListApiKeysRequest,
  ListApiKeysRequestSchema,
  type ListApiKeysResponse,
  type ListOrganizationsRequest,
  ListOrganizationsRequestSchema,
  type ListOrganizationsResponse,
  type RevokeApiKeyRequest,
  RevokeApiKeyRequestSchema,
  type RevokeApiKeyResponse,
  RevokeApiKeyResponseSchema,
  type UpdateApiKeyRequest,
  UpdateApiKeyRequestSchema,
  type UpdateApiKeyResponse,
  UpdateApiKeyResponseSchema,
  type UpdateOrganizationRequest,
  UpdateOrganizationRequestSchema,
  type UpdateOrganizationResponse,
  UpdateOrganizationResponseSchema
} from '../../gen/atelier/v1/admin_service_pb.ts'
import { requireScope } from '../admission/authenticate.ts'
import { createValidate } from '../admission/validate.ts'
import type { Call } from '../call.ts'
import { toGatewayError } from '../errors.ts'
import type { ApiKeys } from '../services/api-keys.ts'
import type { Organizations } from '../services/organizations.ts'

/** Every operation of AdminService. */
export interface AdminOperations {
  createOrganization(request: CreateOrganizationRequest, call: Call): Promise<CreateOrganizationResponse>
  getOrganization(request: GetOrganizationRequest, call: Call): Promise<GetOrganizationResponse>
  listOrganizations(request: ListOrganizationsRequest, call: Call): Promise<ListOrganizationsResponse>
  updateOrganization(request: UpdateOrganizationRequest, call: Call): Promise<UpdateOrganizationResponse>
  createApiKey(request: CreateApiKeyRequest, call: Call): Promise<CreateApiKeyResponse>
  getApiKey(request: GetApiKeyRequest, call: Call): Promise<GetApiKeyResponse>
  listApiKeys(request: ListApiKeysRequest, call: Call): Promise<ListApiKeysResponse>
  updateApiKey(request: UpdateApiKeyRequest, call: Call): Promise<UpdateApiKeyResponse>
  revokeApiKey(request: RevokeApiKeyRequest, call: Call): Promise<RevokeApiKeyResponse>
}

export interface AdminServices {
  organizations: Organizations
  apiKeys: ApiKeys
}

/** What happens to every request of an administrator: the key's scope, the schema's rules, and a log line that tells who did what. */
export function createAdminOperations({ organizations, apiKeys }: AdminServices): AdminOperations {
  const validate = createValidate([
    CreateOrganizationRequestSchema,
    GetOrganizationRequestSchema,
    ListOrganizationsRequestSchema,
    UpdateOrganizationRequestSchema,
    CreateApiKeyRequestSchema,
    GetApiKeyRequestSchema,
    ListApiKeysRequestSchema,
    UpdateApiKeyRequestSchema,
    RevokeApiKeyRequestSchema
  ])

  /** The subject is told by ids alone. */
  async function perform<Desc extends DescMessage, Result>(
    type: Desc,
    request: MessageShape<Desc>,
    call: Call,
    serve: () => Promise<Result>,
    subjectOf: (result: Result | undefined) => Subject
  ): Promise<Result> {
    requireScope(call.caller, 'admin')
    const action = type.name.replace(/Request$/, '')
    const by = call.caller.apiKeyId
    try {
      validate(type, request)
      const result = await serve()
      call.log.info({ action, by, ...subjectOf(result), outcome: 'ok' }, 'admin')
      return result
    } catch (error) {
      call.log.info({ action, by, ...subjectOf(undefined), outcome: toGatewayError(error).reason }, 'admin')
      throw error
    }
  }

  const onOrganization = (id: string) => () => ({ organization: id })
  const onApiKey = (id: string) => (key: { organizationId: string } | undefined) => ({ organization: key?.organizationId, apiKey: id })

  return {
    async createOrganization(request, call) {
      const serve = () => organizations.create(request)
      const organization = await perform(CreateOrganizationRequestSchema, request, call, serve, onOrganization(request.id))
      return create(CreateOrganizationResponseSchema, { organization })
    },
    async getOrganization(request, call) {
      const serve = () => organizations.get(request)
      const organization = await perform(GetOrganizationRequestSchema, request, call, serve, onOrganization(request.id))
      return create(GetOrganizationResponseSchema, { organization })
    },
    listOrganizations: (request, call) =>
      perform(
        ListOrganizationsRequestSchema,
        request,
        call,
        () => organizations.list(request),
        () => ({})
      ),
    async updateOrganization(request, call) {
      const serve = () => organizations.update(request)
      const organization = await perform(UpdateOrganizationRequestSchema, request, call, serve, onOrganization(request.id))
      return create(UpdateOrganizationResponseSchema, { organization })
    },
    createApiKey: (request, call) =>
      perform(
        CreateApiKeyRequestSchema,
        request,
        call,
        () => apiKeys.create(request),
        (made) => ({ organization: made?.apiKey?.organizationId ?? request.organizationId, apiKey: made?.apiKey?.id })
      ),
    async getApiKey(request, call) {
      const apiKey = await perform(GetApiKeyRequestSchema, request, call, () => apiKeys.get(request), onApiKey(request.id))
      return create(GetApiKeyResponseSchema, { apiKey })
    },
    listApiKeys: (request, call) =>
      perform(
        ListApiKeysRequestSchema,
        request,
        call,
        () => apiKeys.list(request),
        () => ({ organization: request.organizationId || undefined })
      ),
    async updateApiKey(request, call) {
      const apiKey = await perform(UpdateApiKeyRequestSchema, request, call, () => apiKeys.update(request), onApiKey(request.id))
      return create(UpdateApiKeyResponseSchema, { apiKey })
    },
    async revokeApiKey(request, call) {
      const apiKey = await perform(RevokeApiKeyRequestSchema, request, call, () => apiKeys.revoke(request), onApiKey(request.id))
      return create(RevokeApiKeyResponseSchema, { apiKey })
    }
  }
}

interface Subject {
  organization?: string | undefined
  apiKey?: string | undefined
}
