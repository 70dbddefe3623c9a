import { randomUUID } from 'node:crypto'
import type { Topic } from '../database.ts'
import { ConnectionLostError, type PostgresConnection, toStep } from './postgres-connection.ts'
import { toPostgresParameter } from './postgres-values.ts'

/** Tells the other processes what has changed, and hears from them, over a connection of its own that is opened again when it breaks. */
export interface PostgresAnnouncements extends AsyncDisposable {
  /** Tells the others soon; keeps what it cannot tell until it can. */
  announce(topics: Iterable<Topic>): void
}

export interface PostgresAnnouncementsOptions {
  open(hooks: { closed(): void; notified(payload: string): void }): Promise<PostgresConnection>
  /** What others have announced; `undefined` where something may have been missed. */
  heard(topics: Iterable<Topic | undefined>): void
}

/** Rejects where the first connection cannot be opened. */
export async function openPostgresAnnouncements(options: PostgresAnnouncementsOptions): Promise<PostgresAnnouncements> {
  const ownName = randomUUID()
  let pending = new Set<Topic>()
  let connection: PostgresConnection | undefined
  let isSending = false
  let sent = Promise.resolve()
  let reconnecting: NodeJS.Timeout | undefined
  let disposed = false
  try {
    await connect()
  } catch (error) {
    stop()
    throw error
  }
  const heartbeat = setInterval(() => connection?.run([toStep('select 1')]).catch(() => undefined), heartbeatMs)

  return {
    announce(topics) {
      for (const topic of topics) pending.add(topic)
      send()
    },
    async [Symbol.asyncDispose]() {
      await sent
      stop()
      clearInterval(heartbeat)
      await connection?.close()
    }
  }

  function stop(): void {
    disposed = true
    clearTimeout(reconnecting)
  }

  async function connect(): Promise<void> {
    const opened = await options.open({ closed: () => reconnectAfter(shortestPauseMs), notified: hear })
    // What is announced is lost anyhow with a server that breaks down.
    await opened.run([toStep(`listen ${channel}`), toStep('set synchronous_commit = off')])
    if (disposed) await opened.close()
    // One that has broken in the meantime is followed by another already.
    if (opened.isOpen) connection = opened
  }

  function reconnectAfter(pauseMs: number): void {
    connection = undefined
    if (disposed) return
    clearTimeout(reconnecting)
    reconnecting = setTimeout(async () => {
      try {
        await connect()
      } catch {
        reconnectAfter(Math.min(pauseMs * 2, longestPauseMs))
        return
      }
      options.heard([undefined])
      send()
    }, pauseMs)
  }

  function send(): void {
    if (!isSending) sent = sendPending()
  }

  /** One statement for all that has gathered meanwhile: the server lets only one transaction at a time announce something. */
  async function sendPending(): Promise<void> {
    isSending = true
    while (connection?.isOpen && pending.size > 0) {
      const topics = pending
      pending = new Set()
      try {
        await connection.run(toPayloads(ownName, topics).map(toNotification))
      } catch (error) {
        if (error instanceof ConnectionLostError) for (const topic of topics) pending.add(topic)
      }
    }
    isSending = false
  }

  function hear(payload: string): void {
    const message = parsePayload(payload)
    if (message.from !== ownName) options.heard(message.topics.map((topic) => topic ?? undefined))
  }
}

const channel = 'atelier'
const heartbeatMs = 10_000
const shortestPauseMs = 25
const longestPauseMs = 1_000

interface Payload {
  from: string
  /** Null stands for more than there is room for. */
  topics: (Topic | null)[]
}

/** A payload must be shorter than 8000 bytes. */
const maxTopicsBytes = 7_800
/** Whoever hears of so many at once does better to look at everything. */
const maxPayloads = 20

function toPayloads(from: string, topics: Iterable<Topic>): string[] {
  const groups: (Topic | null)[][] = []
  let room = 0
  for (const topic of topics) {
    const sizeBytes = Buffer.byteLength(JSON.stringify(topic)) + 1
    if (sizeBytes > maxTopicsBytes) return [JSON.stringify({ from, topics: [null] } satisfies Payload)]
    if (sizeBytes > room) {
      groups.push([])
      room = maxTopicsBytes
    }
    groups.at(-1)?.push(topic)
    room -= sizeBytes
  }
  const told = groups.length > maxPayloads ? [[null]] : groups
  return told.map((group) => JSON.stringify({ from, topics: group } satisfies Payload))
}

function toNotification(payload: string) {
  return { sql: `select pg_notify('${channel}', $1)`, parameters: [toPostgresParameter(payload)] }
}

/** What another program says on the same channel means no more than that something may have changed. */
function parsePayload(text: string): Payload {
  try {
    const payload: unknown = JSON.parse(text)
    if (typeof payload === 'object' && payload !== null && 'topics' in payload && Array.isArray(payload.topics)) return payload as Payload
  } catch {
    // No JSON.
  }
  return { from: '', topics: [null] }
}
