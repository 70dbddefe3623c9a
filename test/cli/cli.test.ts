import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import manifest from '../../package.json' with { type: 'json' }
import { bin, nodes, oldNode, runInProcess, runProgram } from '../support/run-atelier.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const helpPattern = /^atelier .*\n\nUsage: atelier \[command\]\n/

describe.each(nodes)('from %s', (node) => {
  test('prints its version', async () => {
    await using directory = await createTemporaryDirectory()
    const run = await runProgram(['--version'], { node, directory: directory.path })
    expect(run).toEqual({ code: 0, stdout: `atelier ${manifest.version}\n`, stderr: '' })
  })

  test('check-config prints what is in effect, and leaves the directory as it was', async () => {
    await using directory = await createTemporaryDirectory()
    await writeFile(join(directory.path, 'atelier.yaml'), 'log_level: warn\napi_key: sk-atelier-abcdefgh1234\n')
    const environment = { PORT: '3000', ATELIER_LISTN: '' }
    const { code, stdout, stderr } = await runProgram(['check-config'], { node, directory: directory.path, environment })
    expect([code, stderr]).toEqual([0, 'warning: ATELIER_LISTN: unknown variable, without effect; did you mean ATELIER_LISTEN?\n'])
    expect(stdout.split('\n').slice(0, 7)).toEqual([
      '# The configuration is valid. Read from: atelier.yaml, environment, defaults.',
      'listen: 0.0.0.0:3000 # PORT',
      `data_dir: ${directory.path}/data # default`,
      'tasks: on # default',
      'default_model: dall-e-3 # default',
      'api_key: sk-…1234 # atelier.yaml:2:1',
      'log_level: warn # atelier.yaml:1:1'
    ])
    expect(await readdir(directory.path)).toEqual(['atelier.yaml'])
  })

  test('check-config warns of names that no configured provider serves', async () => {
    await using directory = await createTemporaryDirectory()
    await writeFile(join(directory.path, 'atelier.yaml'), 'default_model: sd-turbo\naliases: { house: dall-e-3, draft: sketch }\n')
    const { code, stderr } = await runProgram(['check-config'], { node, directory: directory.path })
    expect([code, stderr]).toEqual([
      0,
      `warning: atelier.yaml:1:1 default_model: no configured provider serves it: the model 'sd-turbo' does not exist here; GET /v1/models lists the names
warning: atelier.yaml:2:12 aliases.house: no configured provider serves it: no openai API key is configured, so house cannot be served
`
    ])
  })

  test('serve lists what is wrong with the configuration', async () => {
    await using directory = await createTemporaryDirectory()
    await writeFile(join(directory.path, 'atelier.yaml'), badConfig)
    expect(await runProgram(['serve'], { node, directory: directory.path })).toEqual({ code: 1, stdout: '', stderr: badConfigText })
  })

  test('arguments that make no sense end it with 2', async () => {
    await using directory = await createTemporaryDirectory()
    expect((await runProgram(['new-key', '--amin'], { node, directory: directory.path })).code).toBe(2)
  })
})

const badConfig = 'log_level: loud\nlimits: { drain: 3 }\n'
const badConfigText = `atelier: the configuration has 2 problems:
atelier.yaml:1:1 log_level: must be trace, debug, info, warn, error, fatal or silent (got "loud")
atelier.yaml:2:11 limits.drain: unknown key; the keys here are max_in_flight, max_body_bytes, max_connections, drain_seconds, max_running_tasks, max_queued_tasks
`

test.each(['check-config', 'new-key'])('%s lists what is wrong with the configuration', async (command) => {
  await using directory = await createTemporaryDirectory()
  await writeFile(join(directory.path, 'atelier.yaml'), badConfig)
  expect(await runInProcess([command], { directory: directory.path })).toEqual({ code: 1, stdout: '', stderr: badConfigText })
})

test.each([[['-v']], [['version']], [['serve', '--version']]])('prints its version for %j', async (args) => {
  expect(await runInProcess(args)).toEqual({ code: 0, stdout: `atelier ${manifest.version}\n`, stderr: '' })
})

test.each([[['help']], [['--help']], [['-h']]])('prints its help for %j', async (args) => {
  expect(await runInProcess(args)).toEqual({ code: 0, stdout: expect.stringMatching(helpPattern), stderr: '' })
})

test.each([
  [['new-key', '--help'], 'new-key [--admin]'],
  [['help', 'serve'], 'serve'],
  [['keys', '--help'], 'keys create --name <text>'],
  [['keys', 'create', '-h', '--name', 'x'], 'keys create --name <text>'],
  [['help', 'keys', 'revoke'], 'keys create --name <text>'],
  [['orgs', 'list', '--help'], 'orgs create <id>'],
  [['generate', '--help'], 'generate <prompt> -o <file>']
])('prints the help of the command for %j', async (args, usage) => {
  const { code, stdout, stderr } = await runInProcess(args)
  expect([code, stderr, stdout.startsWith(`Usage: atelier ${usage}`)]).toEqual([0, '', true])
  expect(stdout.split('\n').filter((line) => line.length > 100)).toEqual([])
})

test.each<[args: string[], problem: string, topic?: string]>([
  [['serv'], 'there is no command serv; did you mean serve?'],
  [['paint'], 'there is no command paint'],
  [['new-key', '--amin'], 'new-key has no option --amin; did you mean --admin?', 'new-key'],
  [['--admin'], 'serve has no option --admin'],
  [['-x'], 'serve has no option -x'],
  [['help', 'serv'], 'there is no command serv; did you mean serve?'],
  [['new-key', '--admin=yes'], '--admin takes no value', 'new-key'],
  [['check-config', 'atelier.yaml'], 'check-config takes no argument, and there is atelier.yaml', 'check-config']
])('refuses %j', async (args, problem, topic) => {
  const more = topic === undefined ? '`atelier help` lists the commands.' : `\`atelier help ${topic}\` tells more.`
  expect(await runInProcess(args)).toEqual({ code: 2, stdout: '', stderr: `atelier: ${problem}\n${more}\n` })
})

test('the help names every command and every variable', async () => {
  const { stdout } = await runInProcess(['help'])
  const variables = ['CONFIG', 'LISTEN', 'PUBLIC_URL', 'DATA_DIR', 'API_KEY', 'ADMIN_KEY', 'MASTER_KEY', 'LOG_LEVEL'].map(
    (name) => `ATELIER_${name}`
  )
  const vendors = ['OPENAI_API_KEY', 'OPENAI_BASE_URL', 'STABILITY_API_KEY', 'STABILITY_BASE_URL', 'GEMINI_API_KEY', 'GEMINI_BASE_URL']
  const azure = ['AZURE_OPENAI_API_KEY', 'AZURE_OPENAI_ENDPOINT']
  const aws = ['AWS_REGION', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']
  const storage = ['DATABASE_URL', 'ATELIER_S3_BUCKET', 'ATELIER_S3_ENDPOINT', 'ATELIER_PREVIOUS_MASTER_KEYS', ...aws]
  for (const name of [
    'serve',
    'check-config',
    'new-key',
    'orgs',
    'keys',
    'models',
    'generate',
    'ATELIER_URL',
    'callback-secret',
    'help',
    'version',
    'PORT',
    ...variables,
    ...storage,
    ...vendors,
    ...azure
  ]) {
    expect(stdout).toMatch(new RegExp(`^  ${name}\\s`, 'm'))
  }
})

test.runIf(oldNode)('an old Node without the project’s own says what is missing', async () => {
  await using directory = await createTemporaryDirectory()
  await mkdir(join(directory.path, 'bin'))
  await copyFile(bin, join(directory.path, 'bin/atelier.js'))
  await writeFile(join(directory.path, 'package.json'), '{"type":"module"}')
  const script = join(directory.path, 'bin/atelier.js')
  const { code, stdout, stderr } = await runProgram([], { node: oldNode ?? '', directory: directory.path, script })
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toMatch(/^Atelier needs Node 26 or newer, and this is Node \d+\.\d+\.\d+\.\n/)
  expect(stderr).toContain(`Either run \`npm ci\` in ${directory.path}/ without --omit=optional,\n`)
})

test('a Node that is new enough says when nothing is installed', async () => {
  await using directory = await createTemporaryDirectory()
  await mkdir(join(directory.path, 'bin'))
  await copyFile(bin, join(directory.path, 'bin/atelier.js'))
  await writeFile(join(directory.path, 'package.json'), '{"type":"module"}')
  const script = join(directory.path, 'bin/atelier.js')
  const { code, stderr } = await runProgram([], { directory: directory.path, script })
  expect(code).toBe(1)
  expect(stderr).toContain(`Run \`npm ci\` in ${directory.path}/ first.`)
})
