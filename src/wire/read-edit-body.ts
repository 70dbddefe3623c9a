import type { IncomingMessage } from 'node:http'
import type { Call } from '../call.ts'
import { gatewayError } from '../errors.ts'
import type { Uploads } from '../storage/uploads.ts'
import { bodyChunks } from './body-chunks.ts'
import type { EditBody, TakeUpload } from './edit-body.ts'
import { readEditForm } from './edit-form.ts'
import { readEditJson } from './edit-json.ts'
import { boundaryOf } from './multipart.ts'

export interface EditBodyOptions {
  /** Of everything but the files. */
  maxBodyBytes: number
  /** Whether JSON is taken as well as forms, and how it names the images: as OpenAI does, or also as URLs in `image`. */
  json: 'not at all' | 'by images' | 'by image'
}

/**
 * Reads the body of an edit; its files are on the disk then, and `files` owns them. Throws UNSUPPORTED_MEDIA_TYPE, BODY_TOO_LARGE,
 * MALFORMED_BODY, MISSING_PARAMETER, CANCELLED, INVALID_PARAMETER naming the part at fault, and what `Uploads.take` throws.
 */
export async function readEditBody(
  request: IncomingMessage,
  call: Call,
  options: EditBodyOptions,
  deps: { uploads: Uploads; files: AsyncDisposableStack }
): Promise<EditBody> {
  const { 'content-type': contentType } = request.headers
  const boundary = boundaryOf(contentType)
  const takesJson = options.json !== 'not at all'
  const isJson = takesJson && /^application\/json[ \t]*(;[ \t]*charset="?utf-8"?[ \t]*)?$/i.test(contentType ?? '')
  if (boundary === undefined && !isJson) throw unsupported(contentType, takesJson)
  const take: TakeUpload = async (source, param) =>
    deps.files.use(await deps.uploads.take(source, { param, callerId: call.caller.organizationId }))
  const limits = { maxTextBytes: options.maxBodyBytes }
  if (boundary === undefined) {
    const json = { ...limits, byImage: options.json === 'by image' }
    return readEditJson(bodyChunks(request, Math.ceil(maxFilesBytes / 3) * 4 + options.maxBodyBytes), json, take)
  }
  return readEditForm(bodyChunks(request, maxFilesBytes + options.maxBodyBytes), { ...limits, boundary }, take)
}

/** Sixteen images and a mask of 50 MB each; as base64 they are a third larger. */
const maxFilesBytes = 17 * 52_428_800

function unsupported(contentType: string | undefined, json: boolean): Error {
  const got = contentType === undefined ? 'none' : `"${contentType.slice(0, 80)}"`
  const expected = json ? 'multipart/form-data or application/json in UTF-8' : 'multipart/form-data'
  return gatewayError('UNSUPPORTED_MEDIA_TYPE', { problem: `the content-type must be ${expected}, not ${got}` })
}
