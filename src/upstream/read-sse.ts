/** One server-sent event. */
export interface ServerSentEvent {
  /** Empty where the stream names none. */
  event: string
  /**
   * What stands in its `data` lines, joined by line feeds, while it arrives. It is read, or left, before the next event is asked for; a
   * part that was left is skipped. Throws SyntaxError where the stream ends inside it.
   */
  data: AsyncIterable<Uint8Array>
}

/** Longest line that is not data, in bytes; no server has a reason for a longer one. */
const maxLineBytes = 16_384
const lineFeed = 0x0a
const nothing = new Uint8Array(0)

/**
 * Reads server-sent events without holding their data: a line of many megabytes passes through chunk by chunk. Events without data and
 * comments are left out. Throws SyntaxError for an endless line that is no data, and what the source throws; leaving early releases it.
 */
export async function* readSse(source: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const chunks = source[Symbol.asyncIterator]()
  let rest: Uint8Array = nothing
  let ended = false

  const more = async (): Promise<boolean> => {
    const next = await chunks.next()
    ended = next.done === true
    if (!next.done) rest = rest.length === 0 ? next.value : Buffer.concat([rest, next.value])
    return !ended
  }
  const startsWithData = async (): Promise<boolean> => {
    while (rest.length < 5 && !rest.includes(lineFeed) && (await more()));
    return Buffer.from(rest.subarray(0, 5)).toString('latin1') === 'data:'
  }
  const readLine = async (): Promise<string | undefined> => {
    for (;;) {
      const end = rest.indexOf(lineFeed)
      if (end > maxLineBytes || (end < 0 && rest.length > maxLineBytes)) throw new SyntaxError('the event stream has an endless line')
      if (end >= 0) {
        const line = Buffer.from(rest.subarray(0, end)).toString('utf8').replace(/\r$/, '')
        rest = rest.subarray(end + 1)
        return line
      }
      if (!(await more())) return undefined
    }
  }

  /** The rest of the line whose `data:` was just taken, and of the data lines that follow at once. */
  const openData = () => {
    let done = false
    const next = async (): Promise<IteratorResult<Uint8Array, undefined>> => {
      while (!done) {
        if (rest.length === 0 && !(await more())) throw new SyntaxError('the event stream ends inside an event')
        const end = rest.indexOf(lineFeed)
        const value = end < 0 ? rest : rest.subarray(0, end)
        rest = end < 0 ? nothing : rest.subarray(end + 1)
        if (end >= 0) {
          done = !(await startsWithData())
          if (!done) rest = rest.subarray(5)
        }
        // A line feed between two data lines is white space to JSON, and so is the one carriage return that may end a line.
        if (value.length > 0) return { done: false, value }
      }
      return { done: true, value: undefined }
    }
    return {
      data: { [Symbol.asyncIterator]: () => ({ next, return: async () => ({ done: true as const, value: undefined }) }) },
      async skip(): Promise<void> {
        while (!(await next()).done);
      }
    }
  }

  try {
    let event = ''
    for (;;) {
      if (await startsWithData()) {
        rest = rest.subarray(5)
        const { data, skip } = openData()
        yield { event, data }
        await skip()
        event = ''
        continue
      }
      const line = await readLine()
      if (line === undefined) return
      if (line === '') event = ''
      if (line.startsWith('event:')) event = line.slice('event:'.length).trim()
    }
  } finally {
    await chunks.return?.()
  }
}
