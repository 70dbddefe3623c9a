import { extname } from 'node:path'
import { createClient } from '@connectrpc/connect'
import { type Cost, CostSchema, ImageOutcome, type Warning, WarningSchema } from '../../gen/atelier/v1/image_pb.ts'
import {
  type GenerateImagesRequest,
  GenerateImagesRequestSchema,
  ImageService,
  OnDisconnect,
  type StreamAccepted
} from '../../gen/atelier/v1/image_service_pb.ts'
import { decodeMessage, encodeMessage } from '../contract/json.ts'
import { GatewayError } from '../errors.ts'
import { findCallerKey } from './client/caller-key.ts'
import { connectTo, type RemoteServer, serverUrl } from './client/server.ts'
import { createImageFiles, type ImageFiles } from './image-files.ts'
import { createProgressLine, type ProgressLine } from './progress-line.ts'
import type { Given } from './read-arguments.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** `atelier generate <prompt> -o <file>`: makes one image. A signal cancels the request. */
export async function generate(terminal: Terminal, given: Given): Promise<number> {
  const { output } = given.values
  if (output === undefined) throw new UsageError('generate needs -o, the file to write', 'generate')
  const request = readRequest(given)
  const url = serverUrl(given.values.url, terminal.environment)
  const server = connectTo(url, await findCallerKey(url, terminal))

  const stopping = new AbortController()
  terminal.watch((ending) => stopping.abort(ending.kind === 'fault' ? ending.error : undefined))
  await using files = createImageFiles(output, terminal.directory)
  using line = createProgressLine(terminal.stderr)
  const begunAtMs = Date.now()
  const made = await server.ask(receive(request, server, { files, line, signal: stopping.signal })).catch((error: unknown) => {
    if (stopping.signal.aborted) throw new Error('stopped; the server was told to cancel the request', { cause: error })
    throw error
  })
  line.end()
  const seconds = ((Date.now() - begunAtMs) / 1000).toFixed(1)
  report(made, output, seconds, terminal, given)
  return 0
}

interface Made {
  accepted: StreamAccepted | undefined
  warnings: Warning[]
  cost: Cost | undefined
  sizeBytes: number
}

/** The parameters as REST spells them. */
function readRequest(given: Given): GenerateImagesRequest {
  const [prompt = ''] = given.arguments
  const { model, size, quality, previews, output = '' } = given.values
  if (previews !== undefined && !/^[0-3]$/.test(previews)) throw new UsageError(`--previews must be 0 to 3, not ${previews}`, 'generate')
  const format = formats[extname(output).toLowerCase()]
  const asked = { prompt, model, size, quality, partial_images: previews && Number(previews), output_format: format }
  try {
    const json = Object.fromEntries(Object.entries(asked).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])))
    const { message, unknown } = decodeMessage(GenerateImagesRequestSchema, json)
    for (const [name, value] of Object.entries(unknown)) throw new UsageError(`--${name} cannot be ${String(value)}`, 'generate')
    // Nobody would fetch what is finished after the command was stopped.
    return { ...message, onDisconnect: OnDisconnect.CANCEL }
  } catch (error) {
    throw error instanceof GatewayError ? new UsageError(error.message, 'generate') : error
  }
}

/** Any other ending: the format that the model makes by itself. */
const formats: Readonly<Record<string, string>> = { '.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg', '.webp': 'webp' }

async function receive(
  request: GenerateImagesRequest,
  server: RemoteServer,
  { files, line, signal }: { files: ImageFiles; line: ProgressLine; signal: AbortSignal }
): Promise<Made> {
  const made: Made = { accepted: undefined, warnings: [], cost: undefined, sizeBytes: 0 }
  const responses = createClient(ImageService, server.transport).streamGenerateImages({ request }, { signal })
  for await (const { event } of responses) {
    switch (event.case) {
      case 'accepted':
        made.accepted = event.value
        made.warnings.push(...event.value.warnings)
        line.begin(`${event.value.provider}/${event.value.model}`)
        break
      case 'progress':
        line.progress(event.value.fraction)
        break
      case 'chunk': {
        const { data, last, previewIndex } = event.value
        if (previewIndex === undefined) {
          await files.writeImage(data)
          made.sizeBytes += data.length
        } else if (await files.writePreview(data, last)) line.note(`preview ${previewIndex + 1}: ${files.previewPath}`)
        break
      }
      case 'image':
        if (event.value.outcome !== ImageOutcome.DELIVERED) throw new Error(event.value.message || 'the provider made no image')
        break
      case 'completed':
        made.warnings.push(...event.value.warnings)
        made.cost = event.value.cost
    }
  }
  if (made.sizeBytes === 0) throw new Error('the server sent no image')
  await files.finish()
  return made
}

function report({ accepted, warnings, cost, sizeBytes }: Made, output: string, seconds: string, terminal: Terminal, given: Given): void {
  if (given.flags.has('json')) {
    const json = {
      file: output,
      size_bytes: sizeBytes,
      provider: accepted?.provider,
      model: accepted?.model,
      task_id: accepted?.taskId || undefined,
      cost: cost ? encodeMessage(CostSchema, cost) : null,
      warnings: warnings.map((warning) => encodeMessage(WarningSchema, warning))
    }
    terminal.stdout.write(`${JSON.stringify(json, undefined, 2)}\n`)
    return
  }
  for (const { param, message } of warnings) terminal.stderr.write(`warning: ${param}: ${message}\n`)
  const size = sizeBytes < 100_000 ? `${Math.ceil(sizeBytes / 1000)} kB` : `${(sizeBytes / 1_000_000).toFixed(1)} MB`
  terminal.stdout.write(`${output}: ${size} by ${accepted?.provider}/${accepted?.model} in ${seconds} s, ${describeCost(cost)}\n`)
}

/** Amounts are millionths. */
function describeCost(cost: Cost | undefined): string {
  const { totalMicros, estimated, charge } = cost ?? {}
  const provider = totalMicros === undefined ? 'cost not known' : `${estimated ? 'about ' : ''}$${inUnits(totalMicros)}`
  return charge ? `${provider}, charged ${inUnits(charge.micros)} ${charge.unit}` : provider
}

/** At least two decimals, and as many as there are. */
function inUnits(micros: bigint): string {
  return (Number(micros) / 1_000_000).toFixed(6).replace(/(\.\d\d\d*?)0+$/, '$1')
}
