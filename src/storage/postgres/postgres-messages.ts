import type { PostgresParameter } from './postgres-values.ts'

/** A prepared statement that is to be run. */
export interface Execution {
  statement: string
  parameters: readonly PostgresParameter[]
}

/**
 * The messages that bind and execute statements, one after the other in one piece: to hand each of them to the socket would cost more than to
 * write it. Rows come back as text.
 */
export function encodeExecutions(executions: readonly Execution[]): Buffer {
  const buffer = Buffer.allocUnsafe(executions.reduce((sum, execution) => sum + mostBytes(execution), 0))
  let end = 0
  for (const execution of executions) {
    end = writeBind(buffer, end, execution)
    end += executeMessage.copy(buffer, end)
  }
  return buffer.subarray(0, end)
}

const bindType = 0x42
/** Of the unnamed portal, all its rows. */
const executeMessage = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0])

/** What a bind message holds besides the statement's name and the parameters. */
const bindBytes = 1 + 4 + 1 + 1 + 2 + 2 + 2
const parameterBytes = 2 + 4
const maxBytesPerCharacter = 3

function mostBytes({ statement, parameters }: Execution): number {
  let bytes = bindBytes + executeMessage.length + statement.length * maxBytesPerCharacter
  for (const { value } of parameters) {
    bytes += parameterBytes
    if (value !== null) bytes += typeof value === 'string' ? value.length * maxBytesPerCharacter : value.length
  }
  return bytes
}

/** Returns where the message ends. */
function writeBind(buffer: Buffer, start: number, { statement, parameters }: Execution): number {
  let at = start + 1 + 4
  buffer[start] = bindType
  // The unnamed portal.
  buffer[at++] = 0
  at += buffer.write(statement, at)
  buffer[at++] = 0
  at = buffer.writeUInt16BE(parameters.length, at)
  for (const { value } of parameters) at = buffer.writeUInt16BE(value instanceof Buffer ? 1 : 0, at)
  at = buffer.writeUInt16BE(parameters.length, at)
  for (const { value } of parameters) at = writeValue(buffer, at, value)
  // Every column of the rows as text.
  at = buffer.writeUInt16BE(0, at)
  buffer.writeInt32BE(at - start - 1, start + 1)
  return at
}

function writeValue(buffer: Buffer, at: number, value: PostgresParameter['value']): number {
  if (value === null) return buffer.writeInt32BE(-1, at)
  const length = typeof value === 'string' ? buffer.write(value, at + 4) : value.copy(buffer, at + 4)
  buffer.writeInt32BE(length, at)
  return at + 4 + length
}
