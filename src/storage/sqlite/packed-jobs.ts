import type { SQLInputValue } from 'node:sqlite'
import { toExactParameter } from '../exact-parameter.ts'
import type { Job, PreparedStatement } from './sqlite-connection.ts'

/**
 * Jobs as one flat list, which is cloned to another thread several times faster than objects. A statement is a number that stands for its
 * text, which comes along when the number gets its meaning; a whole number is no bigint.
 */
export type PackedJobs = readonly SQLInputValue[]

/** A job as it is asked for: its parameters may be anything. */
export interface AskedJob extends Omit<Job, 'statements'> {
  statements: readonly AskedStatement[]
}

export interface AskedStatement extends Omit<PreparedStatement, 'parameters'> {
  parameters: readonly unknown[]
}

/** Packs jobs for one `createUnpackJobs`, which must get all that is taken, in order. */
export interface JobPacker {
  /** Throws TypeError or RangeError, and adds nothing, where a parameter is nothing that a database can hold exactly. */
  add(job: AskedJob): void
  /** What was added since the last time. */
  take(): PackedJobs
}

export function createJobPacker(): JobPacker {
  const known = new Map<string, number>()
  let packed: SQLInputValue[] = []

  return {
    add(job) {
      const begin = packed.length
      try {
        addJob(job)
      } catch (error) {
        packed.length = begin
        // The texts that came along with it are not sent.
        known.clear()
        throw error
      }
    },
    take() {
      const taken = packed
      packed = []
      return taken
    }
  }

  function addJob({ statements, readOnly, isCommit = false }: AskedJob): void {
    packed.push((readOnly ? 1 : 0) + (isCommit ? 2 : 0), statements.length)
    for (const { sql, parameters, expectRows = anyRows } of statements) {
      const number = known.get(sql)
      if (number === undefined) packed.push(name(sql), sql)
      else packed.push(number)
      packed.push(expectRows, parameters.length)
      for (const parameter of parameters) packed.push(packValue(parameter))
    }
  }

  /** Less than 0, to tell that the text follows. */
  function name(sql: string): number {
    if (known.size === maxKnown) known.clear()
    const number = known.size
    known.set(sql, number)
    return -1 - number
  }
}

export function createUnpackJobs(): (packed: PackedJobs) => Job[] {
  const known: string[] = []

  return (packed) => {
    const jobs: Job[] = []
    let at = 0
    while (at < packed.length) {
      const flags = nextNumber()
      const statements: PreparedStatement[] = []
      const count = nextNumber()
      for (let index = 0; index < count; index += 1) statements.push(nextStatement())
      jobs.push({ statements, readOnly: (flags & 1) !== 0, isCommit: (flags & 2) !== 0 })
    }
    return jobs

    function nextStatement(): PreparedStatement {
      const sql = nextText()
      const expectRows = nextNumber()
      const parameters: SQLInputValue[] = []
      const count = nextNumber()
      for (let index = 0; index < count; index += 1) parameters.push(unpackValue(packed[at++] ?? null))
      return { sql, parameters, expectRows: expectRows === anyRows ? undefined : expectRows }
    }

    function nextText(): string {
      const number = nextNumber()
      if (number < 0) known[-1 - number] = String(packed[at++])
      const sql = known[number < 0 ? -1 - number : number]
      if (sql === undefined) throw new Error(`nobody said what statement ${number} is`)
      return sql
    }

    function nextNumber(): number {
      return Number(packed[at++])
    }
  }
}

/** More than this program has, apart from lists of ids of every length. */
const maxKnown = 500
const anyRows = -1

/** node:sqlite takes a leading object for names of parameters and binds nothing. Whole numbers become bigints in its thread. */
function packValue(value: unknown): SQLInputValue {
  if (Number.isSafeInteger(value)) return value as number
  const exact = toExactParameter(value)
  if (typeof exact === 'boolean') return Number(exact)
  if (typeof exact === 'bigint') return exact >= Number.MIN_SAFE_INTEGER && exact <= Number.MAX_SAFE_INTEGER ? Number(exact) : exact
  // Cloning a view to another thread clones the whole buffer below it, and small Buffers share one.
  return exact instanceof Uint8Array && exact.byteLength < exact.buffer.byteLength ? new Uint8Array(exact) : exact
}

/** node:sqlite binds whole numbers as floats. */
function unpackValue(value: SQLInputValue): SQLInputValue {
  return Number.isSafeInteger(value) ? BigInt(value as number) : value
}
