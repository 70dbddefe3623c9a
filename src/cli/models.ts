import { createClient } from '@connectrpc/connect'
import { type ModelCapabilities, type ModelInfo, ModelInfoSchema, ModelStatusSchema } from '../../gen/atelier/v1/model_pb.ts'
import { ModelService } from '../../gen/atelier/v1/model_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { wireName } from '../contract/wire-names.ts'
import { findCallerKey } from './client/caller-key.ts'
import { connectTo, serverUrl } from './client/server.ts'
import { printAnswer } from './print-answer.ts'
import type { Given } from './read-arguments.ts'
import { type Column, renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'

/** `atelier models`: what the caller's key can use, and what each model can do. */
export async function listModels(terminal: Terminal, given: Given): Promise<number> {
  const url = serverUrl(given.values.url, terminal.environment)
  const server = connectTo(url, await findCallerKey(url, terminal))
  const { models } = await server.ask(createClient(ModelService, server.transport).listModels({}))
  const json = { models: models.map((model) => encodeMessage(ModelInfoSchema, model)) }
  return printAnswer(terminal, given, json, renderTable(models, columns))
}

const columns: readonly Column<ModelInfo>[] = [
  { title: 'MODEL', text: ({ id }) => id },
  { title: 'PROVIDER', text: ({ provider }) => provider, cut: true },
  { title: 'SIZES', text: ({ capabilities }) => sizesOf(capabilities), cut: true },
  { title: 'EDITS', text: ({ capabilities }) => editsOf(capabilities) },
  { title: 'LIVE', text: ({ capabilities }) => (capabilities === undefined ? '?' : capabilities.streaming ? 'yes' : 'no') },
  { title: 'STATUS', text: ({ status }) => wireName(ModelStatusSchema, status) ?? 'live' }
]

function sizesOf(capabilities: ModelCapabilities | undefined): string {
  const rule = capabilities?.size?.rule
  switch (rule?.case) {
    case 'list': {
      const [only, second] = rule.value.sizes
      return only && !second ? `${only.width}x${only.height}` : `${rule.value.sizes.length} sizes`
    }
    case 'range':
      return `to ${rule.value.maxEdge} px`
    case 'ratioTiers':
      return `${rule.value.ratios.length} ratios`
    default:
      return capabilities === undefined ? '?' : 'any'
  }
}

function editsOf(capabilities: ModelCapabilities | undefined): string {
  if (capabilities === undefined) return '?'
  return capabilities.maxInputImages === 0 ? 'no' : `${capabilities.maxInputImages}${capabilities.mask ? ' mask' : ''}`
}
