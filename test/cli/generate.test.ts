import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import type { Ending } from '../../src/cli/terminal.ts'
import { type Gateway, startGateway } from '../support/gateway.ts'
import { nodes, runInProcess, runProgram } from '../support/run-atelier.ts'
import { createTemporaryDirectory, type TemporaryDirectory } from '../support/temporary-directory.ts'

test.each(nodes)('makes an image and tells who made it and what it cost, from %s', async (node) => {
  await using gateway = await startGateway()
  await using directory = await createTemporaryDirectory()
  const environment = { ATELIER_URL: gateway.url, ATELIER_API_KEY: gateway.apiKey }
  const args = ['generate', 'a cat', '-o', 'cat.png', '--model', 'gpt-image-1', '--size', '1024x1024', '--quality', 'low']
  const { code, stdout, stderr } = await runProgram(args, { node, directory: directory.path, environment })
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toMatch(/^cat\.png: \d+(\.\d)? [kM]B by openai\/gpt-image-1 in \d+\.\d s, \$0\.\d{2,6}\n$/)
  expect(await readdir(directory.path)).toEqual(['cat.png'])
  expect((await readFile(join(directory.path, 'cat.png'))).subarray(1, 4).toString()).toBe('PNG')
})

test('takes the format from the ending of the file, and prints JSON for machines', async () => {
  await using gateway = await startGateway()
  await using directory = await createTemporaryDirectory()
  const { code, stdout } = await run(gateway, directory, ['a cat', '-o', 'cat.webp', '--model', 'sketch', '--size', '512x512', '--json'])
  const file = await readFile(join(directory.path, 'cat.webp'))
  expect([code, file.subarray(8, 12).toString()]).toEqual([0, 'WEBP'])
  expect(JSON.parse(stdout)).toEqual({
    file: 'cat.webp',
    size_bytes: file.length,
    provider: 'sketch',
    model: 'sketch',
    task_id: expect.stringMatching(/^task_/),
    cost: { total_micros: 0, estimated: false },
    warnings: []
  })
})

test('shows previews and the passing of time on a terminal', async () => {
  await using gateway = await startGateway()
  await using directory = await createTemporaryDirectory()
  const shown: string[] = []
  const stderr = { isTTY: true, write: (text: string) => shown.push(text) }
  const args = ['a cat', '-o', 'cat.png', '--model', 'gpt-image-1', '--previews', '2']
  const { code } = await run(gateway, directory, args, { stderr })
  expect(code).toBe(0)
  const lines = shown
    .join('')
    .replaceAll('\r\u001b[K', '\n')
    .split('\n')
    .filter((line) => line !== '')
  expect(lines).toEqual(expect.arrayContaining(['openai/gpt-image-1 0 s', 'preview 1: cat.preview.png', 'preview 2: cat.preview.png']))
  expect(await readdir(directory.path)).toEqual(['cat.png'])
})

test('leaves the old file alone and no other behind when it fails', async () => {
  await using gateway = await startGateway()
  await using directory = await createTemporaryDirectory()
  await writeFile(join(directory.path, 'cat.png'), 'the old one')
  const { code, stdout, stderr } = await run(gateway, directory, ['[moderated] a cat', '-o', 'cat.png', '--model', 'gpt-image-1'])
  expect([code, stdout, stderr]).toEqual([1, '', expect.stringMatching(/^atelier: [^\n]+\n$/)])
  expect(await readdir(directory.path)).toEqual(['cat.png'])
  expect(await readFile(join(directory.path, 'cat.png'), 'utf8')).toBe('the old one')
})

test('a signal stops it and the provider', async () => {
  await using gateway = await startGateway()
  await using directory = await createTemporaryDirectory()
  const { promise: watching, resolve: watch } = Promise.withResolvers<(ending: Ending) => void>()
  const running = run(gateway, directory, ['a cat [hang]', '-o', 'cat.png', '--model', 'gpt-image-1'], { watch })
  const end = await watching
  await vi.waitFor(() => expect(gateway.upstreamCalls('a cat [hang]')).toBe(1), { timeout: 5_000 })
  end({ kind: 'signal', signal: 'SIGINT' })
  expect(await running).toEqual({ code: 1, stdout: '', stderr: 'atelier: stopped; the server was told to cancel the request\n' })
  expect(await gateway.upstreamEnd('a cat [hang]')).toBe('abandoned')
  expect(await readdir(directory.path)).toEqual([])
})

test.each([
  [['a cat'], 'generate needs -o, the file to write'],
  [['-o', 'x.png'], 'generate needs <prompt>'],
  [['a cat', '-o', 'x.png', '--size', 'huge'], '--size cannot be huge'],
  [['a cat', '-o', 'x.png', '--quality', 'best'], '--quality cannot be best'],
  [['a cat', '-o', 'x.png', '--previews', '4'], '--previews must be 0 to 3, not 4'],
  [['a', 'cat', '-o', 'x.png'], 'generate takes one argument, and there is cat']
])('refuses %j before it asks anybody', async (args, problem) => {
  expect(await runInProcess(['generate', ...args])).toEqual({
    code: 2,
    stdout: '',
    stderr: `atelier: ${problem}\n\`atelier help generate\` tells more.\n`
  })
})

test('says where a file cannot be written', async () => {
  await using gateway = await startGateway()
  await using directory = await createTemporaryDirectory()
  const { code, stderr } = await run(gateway, directory, ['a cat', '-o', 'no/such/cat.png', '--model', 'sketch', '--size', '64x64'])
  expect([code, stderr]).toEqual([1, 'atelier: no/such/cat.png cannot be written: ENOENT\n'])
})

function run(gateway: Gateway, directory: TemporaryDirectory, args: string[], terminal: Parameters<typeof runInProcess>[1] = {}) {
  const environment = { ATELIER_URL: gateway.url, ATELIER_API_KEY: gateway.apiKey }
  return runInProcess(['generate', ...args], { directory: directory.path, environment, ...terminal })
}
