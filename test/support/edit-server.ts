import { readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { JsonObject } from '@bufbuild/protobuf'
import { InputFidelitySchema } from '../../gen/atelier/v1/image_pb.ts'
import { type GenerateImagesRequest, GenerateImagesRequestSchema } from '../../gen/atelier/v1/image_service_pb.ts'
import type { Call } from '../../src/call.ts'
import { encodeMessage } from '../../src/contract/json.ts'
import { wireName } from '../../src/contract/wire-names.ts'
import { gatewayError } from '../../src/errors.ts'
import type { GenerationEvent } from '../../src/events.ts'
import { imageFromBytes } from '../../src/images/image-body.ts'
import type { Operations } from '../../src/invoke.ts'
import { createLog } from '../../src/log.ts'
import type { InputSource } from '../../src/services/take-inputs.ts'
import { createUploads, type UploadsOptions } from '../../src/storage/uploads.ts'
import { createListener } from '../../src/wire/listener.ts'
import { createRequestRecords } from '../../src/wire/request-record.ts'
import { createRestHandler, createRestRoutes, type RestDeps } from '../../src/wire/rest.ts'
import { noChoices } from './call.ts'

/** What an edit or a variation came to behind the wire; files as their bytes. */
export interface ReceivedEdit {
  operation: 'edit' | 'variation'
  parameters: JsonObject
  inputFidelity?: string
  images: ReceivedInput[]
  mask?: ReceivedInput
}

export type ReceivedInput = { param: string } & ({ bytes: Buffer; mediaType: string } | { url: string } | { imageId: string })

export interface EditServer extends AsyncDisposable {
  readonly port: number
  readonly url: string
  readonly apiKey: string
  /** In the order of their coming. */
  readonly received: ReceivedEdit[]
  /** Names of the files that are kept for requests. */
  files(): string[]
}

export interface EditServerOptions {
  uploads?: Partial<UploadsOptions>
  maxBodyBytes?: number
  /** What an edit does before it answers; a receiver that reads its files itself. */
  edit?(images: readonly InputSource[], call: Call): Promise<void>
}

/** The one image with which every edit is answered. */
export const answer = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=', 'base64')

/** The REST front door on a port of its own, in front of edits that only look at what they are given. */
export async function startEditServer(options: EditServerOptions = {}): Promise<EditServer> {
  const directory = await mkdtemp(join(tmpdir(), 'atelier-edits-'))
  const log = createLog({ level: 'silent' })
  const metrics = { began() {}, finished() {}, render: async () => ({ contentType: '', text: '' }) }
  const received: ReceivedEdit[] = []
  const apiKey = 'key'

  async function* serve(edit: () => Promise<ReceivedEdit>, sources: readonly InputSource[], call: Call): AsyncIterable<GenerationEvent> {
    await using files = new AsyncDisposableStack()
    for (const source of sources) if (source.kind === 'upload') files.use(source.upload)
    if (options.edit) await options.edit(sources, call)
    else received.push(await edit())
    yield { kind: 'accepted', taskId: '', createdAt: 1_777_048_800, isReplay: false, provider: 'mirror', model: 'mirror', warnings: [] }
    yield { kind: 'image', index: 0, image: imageFromBytes(answer, 'image/png') }
    yield { kind: 'completed' }
  }

  const operations: Partial<Operations> = {
    editImages: ({ parameters, images, mask, inputFidelity }, call) => {
      const fidelity = wireName(InputFidelitySchema, inputFidelity)
      return serve(
        async () => ({
          operation: 'edit',
          parameters: toJson(parameters),
          ...(fidelity === undefined ? {} : { inputFidelity: fidelity }),
          images: await Promise.all(images.map(receive)),
          ...(mask && { mask: await receive(mask) })
        }),
        mask ? [...images, mask] : images,
        call
      )
    },
    createVariations: ({ image, parameters }, call) =>
      serve(async () => ({ operation: 'variation', parameters: toJson(parameters), images: [await receive(image)] }), [image], call)
  }
  const deps: RestDeps = {
    operations: operations as Operations,
    uploads: createUploads({ directory, ...options.uploads }),
    authenticator: {
      authenticate(headers) {
        if (headers.authorization !== `Bearer ${apiKey}`) throw gatewayError('INVALID_API_KEY', {})
        return { caller: { organizationId: 'default', apiKeyId: 'key-1', scopes: ['generate', 'edit'] } }
      }
    },
    choices: noChoices,
    downloads: async () => undefined,
    metrics,
    openRecord: createRequestRecords({ log, metrics }),
    cors: () => false,
    log,
    unready: () => undefined
  }
  const handle = createRestHandler(createRestRoutes({ maxBodyBytes: options.maxBodyBytes ?? 1_048_576 }, deps), deps)
  const listener = createListener({ host: '127.0.0.1', port: 0, maxConnections: 100, log }, (request, response) => {
    void handle(request, response)
  })
  const { port } = await listener.listen()
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    apiKey,
    received,
    files: () => readdirSync(directory),
    async [Symbol.asyncDispose]() {
      await listener[Symbol.asyncDispose]()
      await rm(directory, { recursive: true, force: true })
    }
  }
}

function toJson(parameters: GenerateImagesRequest): JsonObject {
  return encodeMessage(GenerateImagesRequestSchema, parameters)
}

async function receive(source: InputSource): Promise<ReceivedInput> {
  const { param } = source
  if (source.kind === 'url') return { param, url: source.url }
  if (source.kind === 'image_id') return { param, imageId: source.imageId }
  const bytes = Buffer.concat(await Array.fromAsync(source.upload.open().read('bytes')))
  return { param, bytes, mediaType: source.upload.mediaType }
}
