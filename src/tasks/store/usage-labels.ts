import type { StoredRequest } from '../../../gen/atelier/v1/stored_pb.ts'
import type { LedgerEntryRow, TaskRow } from '../../storage/schema.ts'

/** What the bookings of a task say about its request. */
export type UsageLabels = Pick<LedgerEntryRow, 'operation' | 'end_user' | 'metadata'>

/** Labels that every database can hold, whatever the caller wrote. The end user is the one of the request, else `_user` of its metadata. */
export function usageLabels({ operation, metadata }: StoredRequest, taskOperation: TaskRow['operation']): UsageLabels {
  const parameters = operation.case === 'generation' ? operation.value : operation.value?.parameters
  const texts = readMetadata(metadata)
  return {
    operation: taskOperation,
    end_user: storable(parameters?.safetyIdentifier || parameters?.user || '') || texts.user,
    metadata: texts.json
  }
}

/** Of a request that cannot be read. */
export function labelsOfUnreadable(operation: TaskRow['operation']): UsageLabels {
  return { operation, end_user: '', metadata: null }
}

interface MetadataTexts {
  user: string
  json: string | null
}

const none: MetadataTexts = { user: '', json: null }

/** Callers send the same metadata over and over. */
const readMetadata = createMetadataReader()
const maxRemembered = 100

function createMetadataReader(): (metadata: string) => MetadataTexts {
  const remembered = new Map<string, MetadataTexts>()
  return (metadata) => {
    const known = metadata === '' ? none : remembered.get(metadata)
    if (known) return known
    const texts = textsOf(metadata)
    if (remembered.size === maxRemembered) remembered.clear()
    remembered.set(metadata, texts)
    return texts
  }
}

/** Whatever is no text is written as JSON, so that it is told apart by its value on every database. */
function textsOf(metadata: string): MetadataTexts {
  const entries = Object.entries(JSON.parse(metadata) as Record<string, unknown>)
  const texts = new Map(entries.map(([key, value]) => [storable(key), storable(typeof value === 'string' ? value : JSON.stringify(value))]))
  return texts.size === 0 ? none : { user: texts.get('_user') ?? '', json: JSON.stringify(Object.fromEntries(texts)) }
}

/** Databases refuse NUL characters and halves of surrogate pairs. */
function storable(text: string): string {
  return text.replaceAll('\0', '').toWellFormed()
}
