import { once } from 'node:events'
import { readdir, readFile, stat } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import type { Ending } from '../../src/cli/terminal.ts'
import { nodes, type Run, runInProcess, runProgram, startProgram } from '../support/run-atelier.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const onFreePort = { ATELIER_LISTEN: '127.0.0.1:0' }

describe.each(nodes)('from %s', (node) => {
  test('the first start leaves a key that works in a file, never in the log, and SIGTERM ends it with 0', async () => {
    await using directory = await createTemporaryDirectory()
    await using run = startProgram([], { node, directory: directory.path, environment: onFreePort })
    const { url } = await run.logged('listening')
    const { path } = await run.logged('created the first API key and wrote it to a file that only this user can read')
    expect(path).toBe(join(directory.path, 'data/first-key'))
    expect((await stat(String(path))).mode & 0o777).toBe(0o600)
    const key = (await readFile(String(path), 'utf8')).trim()
    expect(await modelsStatus(String(url), key)).toBe(200)
    run.process.kill('SIGTERM')
    expect(await run.exit).toBe(0)
    expect(run.stdout).toContain('"msg":"stopped"')
    expect([run.stdout.includes(key), run.stderr]).toEqual([false, ''])
  })

  test('a signal that several pass on counts once, and a second one ends it at once', async () => {
    await using directory = await createTemporaryDirectory()
    await using run = startProgram(['serve'], {
      node,
      directory: directory.path,
      environment: { ...onFreePort, ATELIER_API_KEY: 'key-of-all-the-callers' }
    })
    const { url } = await run.logged('listening')
    using _slow = await slowRequest(String(url))
    run.process.kill('SIGINT')
    await sleep(50)
    run.process.kill('SIGINT')
    await run.logged('shutting down')
    await sleep(400)
    expect(run.process.exitCode).toBe(null)
    run.process.kill('SIGINT')
    expect(await run.exit).toBe(130)
  })
})

test('a second SIGTERM ends it with 143', async () => {
  await using directory = await createTemporaryDirectory()
  await using run = startProgram([], {
    directory: directory.path,
    environment: { ...onFreePort, ATELIER_API_KEY: 'key-of-all-the-callers' }
  })
  const { url } = await run.logged('listening')
  using _slow = await slowRequest(String(url))
  run.process.kill('SIGTERM')
  await run.logged('shutting down')
  await sleep(400)
  run.process.kill('SIGTERM')
  expect(await run.exit).toBe(143)
})

test('a second start makes no key', async () => {
  await using directory = await createTemporaryDirectory()
  await startAndStop(directory.path)
  const key = await readFile(join(directory.path, 'data/first-key'), 'utf8')
  const second = await startAndStop(directory.path)
  expect(second.stdout).not.toContain('first API key')
  expect(await readFile(join(directory.path, 'data/first-key'), 'utf8')).toBe(key)
})

test('a configured key makes no first key', async () => {
  await using directory = await createTemporaryDirectory()
  await startAndStop(directory.path, { ATELIER_API_KEY: 'key-of-all-the-callers' })
  expect(await readdir(join(directory.path, 'data'))).not.toContain('first-key')
})

test('a new key replaces the first one while the server runs', async () => {
  await using directory = await createTemporaryDirectory()
  await using run = startProgram([], { directory: directory.path, environment: onFreePort })
  const { url } = await run.logged('listening')
  await run.logged('created the first API key and wrote it to a file that only this user can read')
  const lost = (await readFile(join(directory.path, 'data/first-key'), 'utf8')).trim()
  const { stdout } = await runProgram(['new-key'], { directory: directory.path })
  await vi.waitFor(async () => expect(await modelsStatus(String(url), stdout.trim())).toBe(200), { timeout: 10_000, interval: 100 })
  expect(await modelsStatus(String(url), lost)).toBe(401)
})

test('an error that nobody caught is logged and ends it with 1', async () => {
  await using directory = await createTemporaryDirectory()
  const bomb = `data:text/javascript,${encodeURIComponent("process.on('SIGUSR2', () => { throw new Error('boom') })")}`
  const environment = { ...onFreePort, ATELIER_API_KEY: 'key-of-all-the-callers', NODE_OPTIONS: `--import ${bomb}` }
  await using run = startProgram([], { directory: directory.path, environment })
  await run.logged('listening')
  run.process.kill('SIGUSR2')
  expect(await run.exit).toBe(1)
  expect(await run.logged('unexpected error, shutting down')).toMatchObject({ level: 60, err: { message: 'boom' } })
  expect(run.stdout).toContain('"msg":"stopped"')
})

test('an address in use is told in one line', async () => {
  await using directory = await createTemporaryDirectory()
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const address = other.address()
  const listen = `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  const { code, stderr } = await runProgram([], { directory: directory.path, environment: { ATELIER_LISTEN: listen } })
  other.close()
  expect([code, stderr]).toEqual([
    1,
    `atelier: cannot listen on ${listen}: another process listens there (ATELIER_LISTEN, or \`listen\` in the file, sets another address)\n`
  ])
})

test('on a terminal the first start shows the key once, with a curl line to paste', async () => {
  await using directory = await createTemporaryDirectory()
  let shown = ''
  const { promise: welcomed, resolve: welcome } = Promise.withResolvers<void>()
  const { promise: watching, resolve: setWatcher } = Promise.withResolvers<(ending: Ending) => void>()
  const running = runInProcess([], {
    directory: directory.path,
    environment: { ...onFreePort, ATELIER_LOG_LEVEL: 'silent' },
    stdout: {
      isTTY: true,
      write: (text) => {
        shown += text
        welcome()
      }
    },
    watch: setWatcher
  })
  await Promise.race([welcomed, running])
  const [, url = '', key = ''] = /^\nAtelier listens on (\S+)\n\n[^\n]+\n\n {2}(sk-atelier-\w+)\n\nTry it:\n/.exec(shown) ?? []
  expect(shown).toContain(
    `  curl ${url}/v1/images/generations -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -H 'Accept: image/*' -d '{"prompt":"a cat"}' -o cat.png\n`
  )
  expect(await modelsStatus(url, key)).toBe(200)
  ;(await watching)({ kind: 'signal', signal: 'SIGTERM' })
  expect((await running).code).toBe(0)
  expect(await readdir(join(directory.path, 'data'))).not.toContain('first-key')
})

async function startAndStop(directory: string, environment: Record<string, string> = {}): Promise<Run> {
  await using run = startProgram([], { directory, environment: { ...onFreePort, ...environment } })
  await run.logged('listening')
  run.process.kill('SIGTERM')
  expect(await run.exit).toBe(0)
  return run
}

async function modelsStatus(url: string, key: string): Promise<number> {
  const response = await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${key}` } })
  await response.arrayBuffer()
  return response.status
}

/** A request whose body does not end, so that draining takes long. */
async function slowRequest(url: string): Promise<Disposable> {
  const { hostname, port, host } = new URL(url)
  const socket = connect(Number(port), hostname).on('error', () => undefined)
  await once(socket, 'connect')
  socket.write(
    `POST /v1/images/generations HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer key-of-all-the-callers\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`
  )
  await sleep(200)
  return { [Symbol.dispose]: () => socket.destroy() }
}
