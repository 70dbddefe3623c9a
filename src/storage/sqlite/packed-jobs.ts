import type { SQLInputValue } from 'node:sqlite'
import type { Job, PreparedStatement } from './sqlite-connection.ts'

/**
 * Jobs as one flat list, which is cloned to another thread several times faster than objects. A statement is a number that stands for its
 * text, which comes along when the number gets its meaning; a whole number is no bigint.
 */
export type PackedJobs = readonly SQLInputValue[]

/** Returns what packs jobs for one `createUnpackJobs`, which must get all that it returns, in order. */
export function createPackJobs(): (jobs: readonly Job[]) => PackedJobs {
  const known = new Map<string, number>()

  return (jobs) => {
    const packed: SQLInputValue[] = []
    for (const { statements, readOnly, isCommit = false } of jobs) {
      packed.push((readOnly ? 1 : 0) + (isCommit ? 2 : 0), statements.length)
      for (const { sql, parameters, expectRows = anyRows } of statements) {
        const number = known.get(sql)
        if (number === undefined) packed.push(name(sql), sql)
        else packed.push(number)
        packed.push(expectRows, parameters.length)
        for (const parameter of parameters) packed.push(packValue(parameter))
      }
    }
    return packed
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

function packValue(value: SQLInputValue): SQLInputValue {
  if (typeof value === 'bigint') return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
  // Cloning a view to another thread clones the whole buffer below it, and small Buffers share one.
  return value instanceof Uint8Array && value.byteLength < value.buffer.byteLength ? new Uint8Array(value) : value
}

/** node:sqlite binds whole numbers as floats. */
function unpackValue(value: SQLInputValue): SQLInputValue {
  return Number.isSafeInteger(value) ? BigInt(value as number) : value
}
