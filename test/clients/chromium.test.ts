import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { afterAll, beforeEach, expect, test, vi } from 'vitest'
import { createViteServer } from 'vitest/node'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { needsFiles } from '../support/debian.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

// A browser takes seconds to start.
vi.setConfig({ testTimeout: 60_000 })

const results: ((result: unknown) => void)[] = []
const page = await createViteServer({
  configFile: false,
  root: join(import.meta.dirname, 'browser'),
  logLevel: 'error',
  optimizeDeps: { noDiscovery: true, include: [] },
  server: { host: '127.0.0.1', port: 0, hmr: false, ws: false, watch: null, fs: { strict: false } },
  plugins: [
    {
      name: 'result',
      configureServer: (server) =>
        void server.middlewares.use('/result', async (request, response) => {
          results.shift()?.(await json(request))
          response.end()
        })
    }
  ]
})
await page.listen()
const origin = new URL(page.resolvedUrls?.local[0] ?? '').origin
afterAll(() => page.close())
beforeEach((context) => needsFiles(context, { '/usr/bin/chromium': 'chromium' }))

test('a page of an allowed origin calls over Connect, gRPC-Web and the OpenAI SDK, reads errors, and shows the linked image', async () => {
  await using atelier = await startAtelier({ settings: { corsOrigins: [origin] } })
  const request = { model: 'sketch', prompt: 'a browser', seed: 3, size: '320x240' }
  const response = await atelier.post('/v1/images/generations', request, { accept: 'image/png' })
  const sha256 = createHash('sha256')
    .update(Buffer.from(await response.arrayBuffer()))
    .digest('hex')
  const overRpc = { provider: 'sketch', sha256, failure: ['NotFound', 'MODEL_NOT_FOUND'] }
  expect(await open(atelier)).toEqual({
    connect: overRpc,
    binary: overRpc,
    grpcWeb: overRpc,
    openai: { provider: 'sketch', sha256, failure: [404, 'model_not_found', 'req_'] },
    image: { width: 320, height: 240 }
  })
})

test('a page of any other origin can call nothing', async () => {
  await using atelier = await startAtelier({ settings: { corsOrigins: ['https://elsewhere.example'] } })
  const result = await open(atelier)
  expect(Object.values(result).map(({ error }) => /Failed to fetch|Connection error/.test(error ?? ''))).toEqual([
    true,
    true,
    true,
    true,
    true
  ])
})

/** Opens the page in Chromium and waits for what it reports. */
async function open({ url, apiKey }: TestServer): Promise<Record<string, { error?: string }>> {
  await using profile = await createTemporaryDirectory()
  const { promise, resolve } = Promise.withResolvers<unknown>()
  results.push(resolve)
  const target = `${origin}/?${new URLSearchParams({ gateway: url, key: apiKey })}`
  const options = [
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-dev-shm-usage'
  ]
  const browser = spawn('/usr/bin/chromium', [...options, `--user-data-dir=${profile.path}`, target], { stdio: 'ignore', detached: true })
  const exited = once(browser, 'exit')
  try {
    return (await Promise.race([promise, exited.then(() => Promise.reject(new Error('Chromium ended')))])) as Record<
      string,
      { error?: string }
    >
  } finally {
    // With its children, which otherwise write to the profile while it is removed.
    if (browser.pid !== undefined && browser.exitCode === null) process.kill(-browser.pid, 'SIGKILL')
    await exited
  }
}
