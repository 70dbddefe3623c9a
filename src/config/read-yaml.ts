import { type DescField, type DescMessage, fromJson, type JsonObject, type JsonValue, ScalarType } from '@bufbuild/protobuf'
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type Scalar } from 'yaml'
import { ConfigSchema } from '../../gen/atelier/v1/config_pb.ts'
import { addProblem, addUnquotedProblem, type Draft, emptyDraft } from './draft.ts'
import { fillVariables } from './fill-variables.ts'
import { nearest } from './nearest.ts'
import { allowedNumbers, isSwitch } from './schema-rules.ts'
import { syntaxProblem } from './syntax-problem.ts'

export interface ReadYamlOptions {
  /** The file's name in problems and origins. */
  name: string
  /** Where `${NAME}` is looked up. */
  environment: Readonly<Record<string, string | undefined>>
}

/** Reads a file in the shape of the `Config` message. Never throws: what is wrong with it is in the draft's `problems`. */
export function readYaml(text: string, options: ReadYamlOptions): Draft {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true, schema: 'core', stringKeys: true })
  const draft = emptyDraft()
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${options.name}:${line}:${col}`
  }
  const [error] = [...document.errors, ...document.warnings].sort((a, b) => a.pos[0] - b.pos[0])
  // What follows a first mistake in the syntax is mostly its consequence.
  if (error !== undefined) draft.problems.set('', { offset: error.pos[0], text: `${at(error.pos[0])} ${syntaxProblem(error, text)}` })
  else {
    draft.origins.set('', { label: at(0), offset: 0 })
    const reader: Reader = { document, draft, at, environment: options.environment, nodesLeft: maxNodes }
    try {
      const json = document.contents === null ? {} : readMessage(reader, document.contents, ConfigSchema, '')
      if (json !== undefined) draft.config = fromJson(ConfigSchema, json)
    } catch (error) {
      if (!(error instanceof TooManyValues)) throw error
      draft.problems.clear()
      addUnquotedProblem(draft, '', `holds more than ${maxNodes} values, counting those behind aliases each time`)
    }
  }
  return draft
}

/** Aliases are expanded as they are met; the schema bounds the depth and this the breadth. */
const maxNodes = 20_000

class TooManyValues extends Error {}

interface Reader {
  document: Document.Parsed
  draft: Draft
  at(offset: number): string
  environment: Readonly<Record<string, string | undefined>>
  nodesLeft: number
}

function readMessage(reader: Reader, node: Node, desc: DescMessage, path: string): JsonObject | undefined {
  const entries = entriesOf(reader, node, path)
  if (entries === undefined) return undefined
  const json: JsonObject = {}
  for (const { key, value, offset } of entries) {
    const field = desc.fields.find((candidate) => candidate.name === key)
    const fieldPath = path === '' ? key : `${path}.${key}`
    mark(reader, fieldPath, offset, value)
    if (field === undefined) {
      const names = desc.fields.map((candidate) => candidate.name)
      const guess = nearest(key, names)
      refuse(reader, fieldPath, `unknown key; ${guess === undefined ? `the keys here are ${names.join(', ')}` : `did you mean ${guess}?`}`)
    } else if (value !== undefined) {
      const read = readField(reader, value, field, fieldPath)
      if (read !== undefined) json[key] = read
    }
  }
  return json
}

function readField(reader: Reader, node: Node, field: DescField, path: string): JsonValue | undefined {
  switch (field.fieldKind) {
    case 'scalar':
      return readScalar(reader, node, field, path)
    case 'message':
      return readMessage(reader, node, field.message, path)
    case 'list':
      return readList(reader, node, field, path)
    case 'map':
      return readMap(reader, node, field, path)
    default:
      return undefined
  }
}

/** A list with a bad item is left out, so that the others keep their positions. */
function readList(reader: Reader, node: Node, field: DescField & { fieldKind: 'list' }, path: string): JsonValue[] | undefined {
  if (!isSeq<Node>(node)) return refuse(reader, path, `must be a list, not ${kindOf(node)}`)
  const items = node.items.map((item, index) => {
    const value = resolveAlias(reader, item, `${path}[${index}]`)
    mark(reader, `${path}[${index}]`, item.range?.[0] ?? 0, value)
    return readElement(reader, value, field, `${path}[${index}]`)
  })
  return items.every((item) => item !== undefined) ? items : undefined
}

function readMap(reader: Reader, node: Node, field: DescField & { fieldKind: 'map' }, path: string): JsonObject | undefined {
  const json: JsonObject = {}
  for (const { key, value, offset } of entriesOf(reader, node, path) ?? []) {
    const entryPath = `${path}.${key}`
    mark(reader, entryPath, offset, value)
    // An assignment to this key would set the prototype, and the entry would be lost.
    if (key === '__proto__') refuse(reader, entryPath, 'is not allowed as a name')
    else if (field.mapKind === 'message') json[key] = (value && readMessage(reader, value, field.message, entryPath)) ?? {}
    else {
      const read = readElement(reader, value, field, entryPath)
      if (read !== undefined) json[key] = read
    }
  }
  return json
}

function readElement(reader: Reader, node: Node | undefined, field: DescField, path: string): JsonValue | undefined {
  if (node === undefined) return refuse(reader, path, 'must not be empty')
  return field.message ? readMessage(reader, node, field.message, path) : readScalar(reader, node, field, path)
}

function readScalar(reader: Reader, node: Node, field: DescField, path: string): JsonValue | undefined {
  if (!isScalar(node)) return refuse(reader, path, `must be a single value, not ${kindOf(node)}`)
  const value = typeof node.value === 'string' ? fill(reader, node.value, path) : node.value
  if (value === undefined) return undefined
  // A variable is always text, also where a number or a yes or no belongs.
  const filled = typeof value === 'string' && value !== node.value
  if (field.scalar === ScalarType.BOOL) {
    if (typeof value === 'boolean') return value
    if (filled && (value === 'true' || value === 'false')) return value === 'true'
    addProblem(reader.draft, path, 'must be true or false')
  } else if (field.scalar === ScalarType.UINT32) {
    const number = filled && /^\d+$/.test(value) ? Number(value) : value
    const { least, most } = allowedNumbers(field)
    if (typeof number === 'number' && Number.isInteger(number) && number >= least && number <= most) return number
    addProblem(reader.draft, path, `must be a whole number from ${least} to ${most}`)
  } else if (field.scalar === ScalarType.DOUBLE) {
    const number = filled && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value
    if (typeof number === 'number' && Number.isFinite(number)) return number
    addProblem(reader.draft, path, 'must be a number')
  } else if (isSwitch(field) && (typeof value === 'boolean' || (filled && /^(true|false)$/.test(value)))) {
    return String(value) === 'true' ? 'on' : 'off'
  } else if (typeof value === 'string') return value
  else refuse(reader, path, isSwitch(field) ? 'must be on or off' : 'must be text: put the value in quotes')
  return undefined
}

function fill(reader: Reader, text: string, path: string): string | undefined {
  const filled = fillVariables(text, reader.environment)
  return filled.problems.length === 0 ? filled.text : refuse(reader, path, filled.problems.join('; '))
}

interface Entry {
  key: string
  /** Unset where the file says nothing or `null`. */
  value: Node | undefined
  offset: number
}

function entriesOf(reader: Reader, node: Node, path: string): Entry[] | undefined {
  if (!isMap<Scalar<string>, Node | null>(node)) {
    return refuse(reader, path, `${path === '' ? 'the file ' : ''}must be a mapping of keys to values, not ${kindOf(node)}`)
  }
  return node.items.map((pair) => {
    const key = pair.key.value
    const value = pair.value === null ? undefined : resolveAlias(reader, pair.value, path === '' ? key : `${path}.${key}`)
    return { key, value, offset: pair.key.range?.[0] ?? 0 }
  })
}

/** The node that is meant; undefined where it is null or, which is a problem, where nothing is. */
function resolveAlias(reader: Reader, node: Node, path: string): Node | undefined {
  reader.nodesLeft -= 1
  if (reader.nodesLeft < 0) throw new TooManyValues()
  const resolved = isAlias(node) ? node.resolve(reader.document) : node
  if (resolved === undefined) {
    const offset = node.range?.[0] ?? 0
    reader.draft.problems.set(path, { offset, text: `${reader.at(offset)} ${path}: there is no anchor of this name before it` })
  }
  return isScalar(resolved) && resolved.value === null ? undefined : resolved
}

function mark(reader: Reader, path: string, offset: number, value: Node | undefined): void {
  const written = isScalar(value) ? (value.source ?? String(value.value)) : undefined
  reader.draft.origins.set(path, { label: reader.at(offset), offset, ...(written !== undefined && { written }) })
}

function refuse(reader: Reader, path: string, problem: string): undefined {
  addUnquotedProblem(reader.draft, path, problem)
}

function kindOf(node: Node): string {
  return isMap(node) ? 'a mapping' : isSeq(node) ? 'a list' : 'a single value'
}
