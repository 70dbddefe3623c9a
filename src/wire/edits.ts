import type { JsonValue } from '@bufbuild/protobuf'
import { type InputFidelity, InputFidelitySchema } from '../../gen/atelier/v1/image_pb.ts'
import { EditImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage } from '../contract/json.ts'
import { wireNames } from '../contract/wire-names.ts'
import { gatewayError } from '../errors.ts'
import type { Operations } from '../invoke.ts'
import type { Uploads } from '../storage/uploads.ts'
import { type AskedImages, answerImages } from './answer-images.ts'
import { readEditBody } from './read-edit-body.ts'
import type { RestRoute } from './rest-route.ts'

export interface EditRoutesDeps {
  operations: Operations
  uploads: Uploads
}

/** The routes that take images: edits, as forms or JSON, and variations, as forms. */
export function createEditRoutes(options: { maxBodyBytes: number }, deps: EditRoutesDeps): RestRoute[] {
  return [
    ...['/v1/images/edits', '/v1/openai/images/edits', '/openai/images/edits'].map(
      (path): RestRoute => ({
        path,
        methods: ['POST'],
        rpcs: ['atelier.v1.ImageService.EditImages', 'atelier.v1.ImageService.StreamEditImages', 'atelier.v1.TaskService.CreateTask'],
        access: 'edit',
        async handle(exchange) {
          await using files = new AsyncDisposableStack()
          const { request, call, dialect } = exchange
          const json = dialect === 'enveloped' ? 'by image' : 'by images'
          const { fields, images, mask } = await readEditBody(request, call, { ...options, json }, { ...deps, files })
          const { input_fidelity = null, ...body } = fields
          const inputFidelity = decodeInputFidelity(input_fidelity)
          const operation: AskedImages['operation'] = (parameters) => {
            files.move()
            return { kind: 'edit', order: { parameters, images, ...(mask && { mask }), inputFidelity } }
          }
          await answerImages(exchange, { body, events: 'image_edit', operation }, deps.operations)
        }
      })
    ),
    {
      path: '/v1/images/variations',
      methods: ['POST'],
      rpcs: ['atelier.v1.ImageService.CreateVariations', 'atelier.v1.TaskService.CreateTask'],
      access: 'edit',
      async handle(exchange) {
        await using files = new AsyncDisposableStack()
        const { request, call } = exchange
        const { fields, images, mask } = await readEditBody(request, call, { ...options, json: 'not at all' }, { ...deps, files })
        const [image, second] = images
        if (mask) throw gatewayError('INVALID_PARAMETER', { param: 'mask', problem: 'has no place in variations; an edit takes a mask' })
        if (!image || second) throw gatewayError('INVALID_PARAMETER', { param: 'image', problem: 'must be one image' })
        const operation: AskedImages['operation'] = (parameters) => {
          files.move()
          return { kind: 'variation', order: { image, parameters } }
        }
        await answerImages(exchange, { body: fields, operation }, deps.operations)
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
