import pino, { type DestinationStream, type Logger } from 'pino'

export type { Logger } from 'pino'

/** Where the parts of a request write what they have to tell. */
export interface Log {
  error(fields: object, message: string): void
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
  debug(fields: object, message: string): void
}

/** Writes lines that begin with these fields, as a child of `log` does, and unlike that costs nearly nothing as long as there are none. */
export function withFields(log: Logger, fields: object): Log {
  const at = (level: keyof Log) => (more: object, message: string) => {
    if (log.isLevelEnabled(level)) log[level]({ ...fields, ...more }, message)
  }
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') }
}

export interface LogOptions {
  /** Least severe level to write. */
  level: string
  /** Values that must never appear in a line, whatever field they are in: keys from the configuration. */
  secrets?: readonly string[]
  /** Where lines go; standard output unless told. */
  destination?: DestinationStream
}

/**
 * One JSON object per line. Only named scalar fields are logged, and errors pass through `describeError`; on top of that every known
 * secret and everything shaped like an API key is blanked in the finished line, because redacting by field name misses nested objects
 * and message texts.
 */
export function createLog(options: LogOptions): Logger {
  const destination = options.destination ?? batchedOutput()
  const secrets = (options.secrets ?? []).filter((secret) => secret.length >= 8)
  const scrub = (line: string) => {
    const known = secrets.reduce((text, secret) => text.replaceAll(secret, '[secret]'), line)
    return keyBeginning.test(known) ? known.replace(keyShaped, '[secret]') : known
  }
  return pino(
    { level: options.level, base: null, timestamp: createIsoTime(), serializers: { err: describeError } },
    { write: (line) => destination.write(scrub(line)) }
  )
}

/**
 * Standard output, written to at most every 50 ms, or when 32 KiB are there: each write goes through another thread and costs more than
 * making the line. What is left is written when the process exits, which pino sees to.
 */
function batchedOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: false, minLength: 32_768, maxWrite: 65_536, contentMode: 'buffer' })
  let isAwaited = false
  const flush = () => {
    isAwaited = false
    output.flush()
  }
  return {
    write(line) {
      // Of text it would measure all that waits at every line, and for that copy it together. Its types know nothing else.
      output.write(Buffer.from(line) as Uint8Array as never)
      if (!isAwaited) setTimeout(flush, 50).unref()
      isAwaited = true
    }
  }
}

/** The time as pino's `isoTime` writes it, which spells out the date anew for each line. */
function createIsoTime(): () => string {
  let second = Number.NaN
  let spelled = ''
  return () => {
    const nowMs = Date.now()
    const millisecond = nowMs % 1000
    if (nowMs - millisecond !== second) {
      second = nowMs - millisecond
      spelled = new Date(second).toISOString().slice(0, -4)
    }
    return `,"time":"${spelled}${String(millisecond).padStart(3, '0')}Z"`
  }
}

/** `sk-…` and `Bearer …` as OpenAI, Stability and this server write keys, and `whsec_…`, which signs callbacks. */
const keyShaped = /\b(?:sk|pk|rk)-[A-Za-z0-9_-]{12,}|\bwhsec_[A-Za-z0-9+/=]{12,}|(?<=[Bb]earer )[^\s"\\]{8,}/g

/** Stands in everything that is shaped so, and in hardly anything else: most lines need not be looked through for the whole of it. */
const keyBeginning = /[spr]k-|whsec_|earer /

interface DescribedError {
  name: string
  message: string
  code?: string
  stack?: string
  cause?: DescribedError
}

/** The fields of an error that may be logged; HTTP clients hang requests, headers and bodies on the others. */
export function describeError(thrown: unknown): DescribedError {
  if (!(thrown instanceof Error)) return { name: typeof thrown, message: 'not an Error' }
  return {
    name: thrown.name,
    message: thrown.message,
    ...('code' in thrown && typeof thrown.code === 'string' ? { code: thrown.code } : {}),
    ...(thrown.stack === undefined ? {} : { stack: thrown.stack }),
    ...(thrown.cause === undefined ? {} : { cause: describeError(thrown.cause) })
  }
}
