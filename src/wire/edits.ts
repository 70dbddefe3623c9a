import type { JsonValue } from '@bufbuild/protobuf'
import { type InputFidelity, InputFidelitySchema } from '../../gen/atelier/v1/image_pb.ts'
import { EditImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage } from '../contract/json.ts'
import { wireNames } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { Operations } from '../invoke.ts'
import type { Uploads } from '../storage/uploads.ts'
import { answerImages } from './answer-images.ts'
import { decodeGenerateImages } from './openai-json.ts'
import { readEditBody } from './read-edit-body.ts'
import type { RestRoute } from './rest-route.ts'

export interface EditRoutesDeps {
  operations: Operations
  uploads: Uploads
}

/** The routes that take images: edits, as forms or JSON, and variations, as forms. */
export function createEditRoutes(options: { maxBodyBytes: number }, deps: EditRoutesDeps): RestRoute[] {
  return [
    {
      path: '/v1/images/edits',
      methods: ['POST'],
      rpcs: ['atelier.v1.ImageService.EditImages', 'atelier.v1.ImageService.StreamEditImages'],
      access: 'edit',
      async handle(exchange) {
        await using files = new AsyncDisposableStack()
        const { request, call } = exchange
        const { fields, images, mask } = await readEditBody(request, call, { ...options, json: true }, { ...deps, files })
        const { input_fidelity = null, ...rest } = fields
        const inputFidelity = decodeInputFidelity(input_fidelity)
        await answerImages(exchange, decodeGenerateImages(rest), 'image_edit', (parameters) => {
          files.move()
          return deps.operations.editImages({ parameters, images, ...(mask && { mask }), inputFidelity }, call)
        })
      }
    },
    {
      path: '/v1/images/variations',
      methods: ['POST'],
      rpcs: ['atelier.v1.ImageService.CreateVariations'],
      access: 'edit',
      async handle(exchange) {
        await using files = new AsyncDisposableStack()
        const { request, call } = exchange
        const { fields, images, mask } = await readEditBody(request, call, { ...options, json: false }, { ...deps, files })
        const [image, second] = images
        if (mask) throw gatewayError('INVALID_PARAMETER', { param: 'mask', problem: 'has no place in variations; an edit takes a mask' })
        if (!image || second) throw gatewayError('INVALID_PARAMETER', { param: 'image', problem: 'must be one image' })
        const decoded = decodeGenerateImages(fields)
        if (decoded.stream)
          throw gatewayError('INVALID_PARAMETER', { param: 'stream', problem: 'must be false: variations are not streamed' })
        await answerImages(exchange, decoded, 'image_edit', (parameters) => {
          files.move()
          return deps.operations.createVariations({ image, parameters }, call)
        })
      }
    }
  ]
}

function decodeInputFidelity(value: JsonValue): InputFidelity {
  const { message, unknown } = decodeMessage(EditImagesRequestSchema, { input_fidelity: value })
  if (Object.keys(unknown).length > 0) {
    const problem = `must be ${wireNames(InputFidelitySchema).join(' or ')}`
    throw gatewayError('INVALID_PARAMETER', { param: 'input_fidelity', problem })
  }
  return message.inputFidelity
}
