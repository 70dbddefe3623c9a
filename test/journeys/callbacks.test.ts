import { createHmac } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import { type ReceivedCallback, startCallbackReceiver } from '../support/callback-receiver.ts'
import { download, startGateway } from '../support/gateway.ts'
import { runInProcess } from '../support/run-atelier.ts'
import { generations, readTask, send, submit } from '../support/task-client.ts'

const receiver = await startCallbackReceiver({ '/gone': { status: 410 }, '/hangs': 'hang', '/fails': [{ status: 500 }, { status: 200 }] })
const other = await startCallbackReceiver({}, { host: '127.0.0.2' })
const gateway = await startGateway({ settings: { egressAllow: [`127.0.0.1:${receiver.port}`, `127.0.0.2:${other.port}`] } })
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await other[Symbol.asyncDispose]()
  await receiver[Symbol.asyncDispose]()
})

test('a request with a callback URL is answered with its id, and its result is posted there, signed', async () => {
  const prompt = 'called back'
  const body = { model: 'dall-e-3', prompt, callback_url: `${receiver.origin}/done`, trace_id: 'order 7' }
  const response = await gateway.post(generations, body)
  const accepted = await response.json()
  expect([response.status, accepted]).toEqual([200, { task_id: expect.stringMatching(/^task_/), trace_id: 'order 7' }])
  const [callback] = await receiver.waitFor('/done', 1)
  const told = JSON.parse(callback?.body ?? '')
  expect(told).toMatchObject({
    success: true,
    task_id: accepted.task_id,
    trace_id: 'order 7',
    data: { created: expect.any(Number), data: [{ revised_prompt: `A detailed, high-quality image of the following: ${prompt}` }] }
  })
  expect(await download(told.data.data[0].url)).toEqual(await gateway.upstreamImage({ model: 'dall-e-3', prompt }))
  expect(signatureOf(callback, await secret())).toBe(callback?.headers['webhook-signature'])
  await expect
    .poll(async () => (await readTask(gateway, accepted.task_id)).callback)
    .toMatchObject({ status: 'delivered', webhook_id: callback?.headers['webhook-id'], deliveries: [{ status: 200, problem: null }] })
})

test('a failure is posted with its code, in the words of the synchronous answer', async () => {
  const { id } = await submit(gateway, { model: 'dall-e-3', prompt: '[moderated] called back', callback_url: `${receiver.origin}/failed` })
  const [callback] = await receiver.waitFor('/failed', 1)
  const { error } = await readTask(gateway, id)
  expect(JSON.parse(callback?.body ?? '')).toEqual({
    success: false,
    task_id: id,
    error: { code: 'token_mismatched', message: error?.message },
    trace_id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-8/)
  })
})

test('a task that was cancelled in the queue calls back as well', async () => {
  await using small = await startGateway({ settings: { maxRunningTasks: 1, egressAllow: [`127.0.0.1:${receiver.port}`] } })
  const first = await submit(small, { model: 'sketch', prompt: 'first', delay_ms: 60_000 })
  const second = await submit(small, { model: 'sketch', prompt: 'second', callback_url: `${receiver.origin}/cancelled` })
  await send(small, 'DELETE', `/v1/tasks/${second.id}`)
  const [callback] = await receiver.waitFor('/cancelled', 1)
  expect(JSON.parse(callback?.body ?? '')).toMatchObject({ success: false, task_id: second.id })
  await send(small, 'DELETE', `/v1/tasks/${first.id}`)
})

test('410 ends the tries, and redelivery begins anew under the same webhook-id', async () => {
  const { id } = await submit(gateway, { model: 'sketch', prompt: 'gone', size: '64x64', callback_url: `${receiver.origin}/gone` })
  await expect.poll(async () => (await readTask(gateway, id)).callback?.status).toBe('stopped')
  const response = await send(gateway, 'POST', `/v1/tasks/${id}/callback`)
  expect(response.status).toBe(202)
  const callbacks = await receiver.waitFor('/gone', 2)
  expect(new Set(callbacks.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  expect(new Set(callbacks.map(({ body }) => JSON.parse(body).task_id))).toEqual(new Set([id]))
})

test('one receiver that hangs delays no other', async () => {
  for (let index = 0; index < 5; index += 1) {
    await submit(gateway, { model: 'sketch', prompt: `hangs ${index}`, size: '64x64', callback_url: `${receiver.origin}/hangs` })
  }
  await submit(gateway, { model: 'sketch', prompt: 'quick', size: '64x64', callback_url: `${other.origin}/quick` })
  await other.waitFor('/quick', 1)
  expect(receiver.received.filter(({ path }) => path === '/hangs').length).toBeGreaterThan(0)
})

test.each([
  ['http://127.0.0.1:1/hook', /not https/],
  ['https://user:secret@receiver.example/', /user|password|credential/],
  ['https://127.0.0.1:1/hook', /not allowed|private|loopback/],
  ['ftp://receiver.example/', /http/],
  ['not a URL', /not valid/]
])('%s is refused before anything is done', async (callback_url, message) => {
  const response = await gateway.post(generations, { model: 'sketch', prompt: 'a cat', callback_url })
  const { error } = await response.json()
  expect([response.status, error.param, error.message]).toEqual([400, 'callback_url', expect.stringMatching(message)])
})

async function secret(): Promise<string> {
  const { stdout } = await runInProcess(['callback-secret'], { environment: { ATELIER_DATA_DIR: gateway.dataDir } })
  return stdout.trim()
}

/** As Standard Webhooks 1.0 has it. */
function signatureOf(callback: ReceivedCallback | undefined, secret: string): string {
  const { headers = {}, body = '' } = callback ?? {}
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64')
  const content = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
  return `v1,${createHmac('sha256', key).update(content).digest('base64')}`
}
