import { create } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { ImageOutcome } from '../../gen/atelier/v1/image_pb.ts'
import { StoredResultSchema } from '../../gen/atelier/v1/stored_pb.ts'
import { type Dimension, noSums, type Sums, sumUsage } from '../../src/ledger/usage-sums.ts'
import type { Database } from '../../src/storage/database.ts'
import type { AttemptEnding, NewTask, TaskStore } from '../../src/tasks/task-store.ts'
import { auditUsage } from '../chaos/audit-usage.ts'
import { caller, claimOf, delivery, failed, intent, newTask, pendingBlob, succeeded, type TaskStores } from '../support/task-stores.ts'

/** What the bookings say of whom and of what they are, and what they come to. */
export function taskUsageSuite(name: string, open: () => Promise<TaskStores>): void {
  describe(`${name}: usage`, () => {
    test('books the operation, the end user and the metadata of the request with every entry', async () => {
      await using stores = await open()
      const store = await stores.open()
      const task = newTask({ operation: 'edit' }, requestOf({ user: 'alice' }, { team: 'red', size: 3, deep: { a: [1] } }))
      await carryOut(store, task, delivery(38_000n))
      const labels = { operation: 'edit', end_user: 'alice', metadata: '{"team":"red","size":"3","deep":"{\\"a\\":[1]}"}' }
      expect(await labelsOf(stores.database)).toEqual([labels, labels])
    })

    test.each([
      ['the one of the request', { user: 'alice' }, { _user: 'bob' }, 'alice'],
      ['its stable name rather', { user: 'alice', safetyIdentifier: 'sid-1' }, {}, 'sid-1'],
      ['else the one that the metadata names', {}, { _user: 'bob' }, 'bob'],
      ['else none', {}, { team: 'red' }, '']
    ])('takes as the end user %s', async (_, parameters, metadata, expected) => {
      await using stores = await open()
      await carryOut(await stores.open(), newTask({}, requestOf(parameters, metadata)), delivery(1n))
      expect((await labelsOf(stores.database)).map(({ end_user }) => end_user)).toEqual([expected, expected])
    })

    test('books texts that no database can hold without what makes them so', async () => {
      await using stores = await open()
      const task = newTask({}, requestOf({ user: 'a\0b\ud800' }, { 'k\0': 'v\0\udc00', "it's": '"quoted"' }))
      await carryOut(await stores.open(), task, delivery(1n))
      const [labels] = await labelsOf(stores.database)
      expect([labels?.end_user, JSON.parse(labels?.metadata ?? '')]).toEqual(['ab\ufffd', { k: 'v\ufffd', "it's": '"quoted"' }])
      expect(await sumsBy(stores.database, { by: 'metadata', key: 'k' })).toMatchObject({ 'v\ufffd': { spentMicros: 1n } })
    })

    test('books the same when another process takes the task over', async () => {
      await using stores = await open()
      const [store, heir] = [await stores.open(), await stores.open()]
      const task = newTask({ operation: 'variation', onInterrupt: 'retry' }, requestOf({ user: 'alice' }, { team: 'red' }))
      const journal = store.journal(claimOf(await store.admit(task)))
      const attempt = await journal.intend(intent())
      await store.resign()
      const [claimed] = await heir.claimAbandoned(1)
      if (!claimed) throw new Error('nothing was abandoned')
      await using taken = heir.journal(claimed)
      await taken.close(attempt, { outcome: 'unknown' })
      await taken.close(await taken.intend(intent({ ordinal: 1 })), delivery(38_000n))
      await taken.finish(succeeded())
      const labels = { operation: 'variation', end_user: 'alice', metadata: '{"team":"red"}' }
      expect(await labelsOf(stores.database)).toEqual(Array.from({ length: 4 }, () => labels))
      expect(await sumsBy(stores.database, { by: 'user' })).toEqual({
        alice: sums({ requests: 1n, attempts: 2n, images: 1n, inputTokens: 5n, outputTokens: 7n, spentMicros: 78_000n })
      })
    })

    test('counts a request once, whatever the number of its calls', async () => {
      await using stores = await open()
      const store = await stores.open()
      await using journal = store.journal(claimOf(await store.admit(newTask())))
      const attempts = await Promise.all([0, 1, 2].map((part) => journal.intend(intent({ part }))))
      for (const attempt of attempts) await journal.close(attempt, delivery(10n))
      await journal.finish(succeeded())
      expect(await sumsBy(stores.database)).toMatchObject({ '': { requests: 1n, attempts: 3n, images: 3n, spentMicros: 30n } })
    })

    test('tells what is reserved now for calls that are not over, apart from what is spent', async () => {
      await using stores = await open()
      const store = await stores.open()
      await using journal = store.journal(claimOf(await store.admit(newTask())))
      const attempt = await journal.intend(intent())
      expect(await sumsBy(stores.database)).toMatchObject({ '': { reservedMicros: 40_000n, spentMicros: 0n, attempts: 1n } })
      await journal.close(attempt, delivery(38_000n))
      expect(await sumsBy(stores.database)).toMatchObject({ '': { reservedMicros: 0n, spentMicros: 38_000n } })
      await journal.finish(succeeded())
    })

    test.each<[string, number | undefined, AttemptEnding, bigint]>([
      ['a delivery of unknown price', undefined, delivery(undefined), 1n],
      ['a lost answer of unknown price', undefined, { outcome: 'unknown' }, 1n],
      ['a delivery that says what it cost', undefined, delivery(5n), 0n],
      ['a refusal', undefined, { outcome: 'rejected' }, 0n],
      ['a lost answer', 40_000, { outcome: 'unknown' }, 0n]
    ])('counts %s among the calls without a price, or not', async (_, reserveMicros, ending, expected) => {
      await using stores = await open()
      await carryOut(await stores.open(), newTask(), ending, intent({ reserveMicros }))
      expect(await sumsBy(stores.database)).toMatchObject({ '': { unpricedAttempts: expected } })
    })

    test('counts it no longer when the price becomes known later', async () => {
      await using stores = await open()
      const [store, heir] = [await stores.open(), await stores.open()]
      const journal = store.journal(claimOf(await store.admit(newTask())))
      const attempt = await journal.intend(intent({ reserveMicros: undefined }))
      await store.resign()
      const [claimed] = await heir.claimAbandoned(1)
      if (!claimed) throw new Error('nothing was abandoned')
      await using taken = heir.journal(claimed)
      await taken.close(attempt, { outcome: 'unknown' })
      expect(await sumsBy(stores.database)).toMatchObject({ '': { unpricedAttempts: 1n, spentMicros: 0n } })
      await journal.close(attempt, delivery(5n)).catch(() => undefined)
      expect(await sumsBy(stores.database)).toMatchObject({ '': { unpricedAttempts: 0n, spentMicros: 5n, images: 1n } })
      await taken.finish(succeeded())
    })

    test.each([
      ['what its file says', 64, { width: 9, height: 9 }, 7, 64n],
      ['else what the provider says', undefined, { width: 9, height: 9 }, 7, 81n],
      ['else what was asked for', undefined, undefined, 7, 7n],
      ['else nothing', undefined, undefined, undefined, 0n],
      ['what is asked for where the provider says what cannot be', undefined, { width: 2 ** 32 - 1, height: 2 ** 32 - 1 }, 7, 7n],
      ['and where the file does', 2 ** 60, undefined, 7, 7n]
    ])('counts as the pixels of an image %s', async (_, pixels, size, askedPixels, expected) => {
      await using stores = await open()
      const task = newTask()
      const image = { ...pendingBlob(stores.database, task.id, Date.now() + 60_000), ...(pixels !== undefined && { pixels }) }
      const result = create(StoredResultSchema, {
        images: [{ outcome: ImageOutcome.DELIVERED, source: { case: 'imageId', value: image.blob.id } }, { outcome: ImageOutcome.FAILED }],
        ...(size && { resolved: { size } })
      })
      const ending = { outcome: 'succeeded', result, blobs: [image], ...(askedPixels !== undefined && { askedPixels }) } as const
      await carryOut(await stores.open(), task, ending)
      expect(await sumsBy(stores.database)).toMatchObject({ '': { images: 1n, pixels: expected } })
    })

    test('leaves out counts that no provider can mean', async () => {
      await using stores = await open()
      const ending = delivery(2n ** 52n)
      ending.result.usage = Object.assign(ending.result.usage ?? {}, { inputTokens: 2n ** 53n - 1n, outputTokens: 2n ** 63n }) as never
      await carryOut(await stores.open(), newTask(), ending)
      expect(await sumsBy(stores.database)).toMatchObject({ '': { inputTokens: 0n, outputTokens: 0n, spentMicros: 40_000n } })
    })

    test('breaks usage down by whatever is asked for, in slices of any size', async () => {
      await using stores = await open()
      const store = await stores.open()
      const { database } = stores
      const orders = [
        { key: 'key-1', user: 'alice', team: 'red', ending: delivery(1n) },
        { key: 'key-1', user: 'bob', team: 'blue', ending: delivery(20n) },
        { key: 'key-2', user: 'alice', team: 'red', ending: delivery(300n) },
        { key: 'key-2', user: '', team: '', ending: { outcome: 'rejected' } as const }
      ]
      for (const { key, user, team, ending } of orders) {
        const request = requestOf({ user }, team === '' ? undefined : { team })
        await carryOut(store, newTask({ caller: { ...caller, apiKeyId: key } }, request), ending)
      }
      const spentBy = async (...dimensions: Dimension[]) => {
        const whole = await sumUsage(database, {}, dimensions)
        for (const sliceRows of [1, 3, 1000]) {
          expect(inOrder(await sumUsage(database, {}, dimensions, { sliceRows }))).toEqual(inOrder(whole))
        }
        return Object.fromEntries(inOrder(whole).map(({ values, sums: { spentMicros } }) => [values.join(' '), Number(spentMicros)]))
      }
      expect(await spentBy({ by: 'api_key' })).toEqual({ 'key-1': 21, 'key-2': 300 })
      expect(await spentBy({ by: 'user' })).toEqual({ '': 0, alice: 301, bob: 20 })
      expect(await spentBy({ by: 'metadata', key: 'team' })).toEqual({ '': 0, blue: 20, red: 301 })
      expect(await spentBy({ by: 'api_key' }, { by: 'metadata', key: 'team' })).toEqual({
        'key-1 blue': 20,
        'key-1 red': 1,
        'key-2 ': 0,
        'key-2 red': 300
      })
      expect(await spentBy({ by: 'provider' }, { by: 'model' }, { by: 'credential' })).toEqual({ 'openai dall-e-3 platform': 321 })
      expect(await sumsBy(database)).toMatchObject({ '': { spentMicros: 321n, requests: 4n, attempts: 4n, images: 3n } })
      expect(await auditUsage(database)).toEqual([])
    })

    test('refuses to count more groups than fit into memory', async () => {
      await using stores = await open()
      const store = await stores.open()
      for (const user of ['a', 'b', 'c']) await carryOut(store, newTask({}, requestOf({ user })), delivery(1n))
      await expect(sumUsage(stores.database, {}, [{ by: 'user' }], { maxGroups: 2 })).rejects.toMatchObject({
        reason: 'INVALID_PARAMETER',
        message: 'group_by: makes more than 2 groups: ask for a shorter time'
      })
    })

    test('notices usage that is told otherwise than it was', async () => {
      await using stores = await open()
      await carryOut(await stores.open(), newTask(), delivery(38_000n))
      await stores.database.query.updateTable('attempts').set({ cost_micros: 37_999 }).execute()
      expect(await auditUsage(stores.database)).toEqual([
        'the usage of default key-1 openai dall-e-3 is told as 1 calls of 1 requests for 38000 and was 1 calls of 1 requests for 37999'
      ])
    })
  })
}

function requestOf(parameters: { user?: string; safetyIdentifier?: string }, metadata?: object): Parameters<typeof newTask>[1] {
  const value = { prompt: 'a cat', ...parameters }
  return { operation: { case: 'generation', value }, ...(metadata && { metadata: JSON.stringify(metadata) }) }
}

async function carryOut(store: TaskStore, task: NewTask, ending: AttemptEnding, attempt = intent()): Promise<void> {
  await using journal = store.journal(claimOf(await store.admit(task)))
  await journal.close(await journal.intend(attempt), ending)
  await journal.finish(ending.outcome === 'succeeded' ? succeeded() : failed())
}

function labelsOf({ query }: Database) {
  return query.selectFrom('ledger_entries').select(['operation', 'end_user', 'metadata']).execute()
}

async function sumsBy(database: Database, ...dimensions: Dimension[]): Promise<Record<string, Sums>> {
  const groups = await sumUsage(database, {}, dimensions)
  return Object.fromEntries(groups.map(({ values, sums }) => [values.join(' '), sums]))
}

function sums(some: Partial<Sums>): Sums {
  return { ...noSums(), ...some }
}

function inOrder<Group extends { values: readonly string[] }>(groups: readonly Group[]): Group[] {
  return groups.toSorted((one, other) => (one.values.join('\0') < other.values.join('\0') ? -1 : 1))
}
