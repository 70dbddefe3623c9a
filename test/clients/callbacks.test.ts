import OpenAI7 from 'openai'
import OpenAI6 from 'openai-6'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { startCallbackReceiver } from '../support/callback-receiver.ts'
import { openCallbacks } from '../support/callbacks.ts'

const versions = [
  ['openai 7', OpenAI7],
  ['openai 6', OpenAI6 as unknown as typeof OpenAI7]
] as const

test('standardwebhooks verifies a callback, and no other body', async () => {
  const { secret, headers, body } = await receiveOne()
  const webhook = new Webhook(secret)
  expect(webhook.verify(body, headers)).toEqual({ task_id: 'task-1' })
  expect(() => webhook.verify(`${body} `, headers)).toThrow('No matching signature found')
})

test('standardwebhooks verifies with the old secret and with the new one while a rotation lasts', async () => {
  const { oldSecret, secret, headers, body } = await receiveOne({ rotate: true })
  expect(oldSecret).not.toBe(secret)
  expect([new Webhook(oldSecret).verify(body, headers), new Webhook(secret).verify(body, headers)]).toEqual([
    { task_id: 'task-1' },
    { task_id: 'task-1' }
  ])
})

describe.each(versions)('%s', (_, OpenAI) => {
  test('verifies a callback, and no other body', async () => {
    const { secret, headers, body } = await receiveOne()
    const client = new OpenAI({ apiKey: 'unused', webhookSecret: secret })
    await expect(client.webhooks.verifySignature(body, headers)).resolves.toBeUndefined()
    await expect(client.webhooks.verifySignature(`${body} `, headers)).rejects.toThrow('signature')
    expect(await client.webhooks.unwrap(body, headers)).toEqual({ task_id: 'task-1' })
  })

  test('verifies with the old secret and with the new one while a rotation lasts', async () => {
    const { oldSecret, secret, headers, body } = await receiveOne({ rotate: true })
    const client = new OpenAI({ apiKey: 'unused' })
    await expect(client.webhooks.verifySignature(body, headers, oldSecret)).resolves.toBeUndefined()
    await expect(client.webhooks.verifySignature(body, headers, secret)).resolves.toBeUndefined()
  })
})

/** A callback as its receiver gets it. */
async function receiveOne({ rotate = false } = {}) {
  await using receiver = await startCallbackReceiver()
  await using callbacks = await openCallbacks([`127.0.0.1:${receiver.port}`])
  const oldSecret = await callbacks.secrets.current('default')
  const secret = rotate ? await callbacks.secrets.rotate('default') : oldSecret
  callbacks.start()
  await callbacks.add({ taskId: 'task-1', url: `${receiver.origin}/` })
  const [received] = await receiver.waitFor('/', 1)
  return { oldSecret, secret, headers: received?.headers as Record<string, string>, body: received?.body ?? '' }
}
