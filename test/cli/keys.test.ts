import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { looksLikeApiKey } from '../../src/admission/api-key.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { runInProcess, runProgram, startProgram } from '../support/run-atelier.ts'
import { startSharedStorage } from '../support/shared-storage.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

test('a newcomer starts the server and makes a key for a colleague without having seen any other', async () => {
  await using directory = await createTemporaryDirectory()
  await using server = startProgram([], { directory: directory.path, environment: { ATELIER_LISTEN: '127.0.0.1:0' } })
  const environment = { ATELIER_URL: String((await server.logged('listening')).url) }
  const run = (...args: string[]) => runProgram(args, { directory: directory.path, environment })
  const note = `No admin key is set: using one for this command alone, made through the database in ${directory.path}/data.\n`
  expect(await run('orgs', 'create', 'acme')).toEqual({
    code: 0,
    stdout: 'There is now an organization acme. `atelier keys create --org acme --name …` makes a key for it.\n',
    stderr: note
  })
  const created = await run('keys', 'create', '--org', 'acme', '--name', 'ci', '--expires', '90d')
  const key = created.stdout.trim()
  expect([created.code, created.stdout, looksLikeApiKey(key)]).toEqual([0, `${key}\n`, true])
  expect(created.stderr).toMatch(
    new RegExp(
      `This is the API key ${key.slice(11, 19)} of acme for ci\\. It expires on \\d{4}-\\d\\d-\\d\\d, and is not shown again\\.\n$`
    )
  )
  const models = await runProgram(['models'], { directory: directory.path, environment: { ...environment, ATELIER_API_KEY: key } })
  expect([models.code, models.stdout.split('\n')[1]]).toEqual([0, 'sketch  sketch    to 4096 px  16 mask  yes   live'])
  const listed = await run('keys', 'list')
  expect(listed.stdout.split('\n').map((line) => line.replace(/\d{4}-\d\d-\d\d/g, '<day>'))).toEqual([
    'ID        ORG      NAME      SCOPES                    EXPIRES     LAST USED',
    `${key.slice(11, 19)}  acme     ci        generate edit read_tasks  <day>  <day>`,
    expect.stringMatching(/^\w{8} {2}default {2}operator {2}generate edit read_tasks {2}never {7}never$/),
    ''
  ])
})

test('keys are changed and revoked, by their ids or as they are', async () => {
  await using atelier = await startAtelier()
  const key = (await run(atelier, 'keys', 'create', '--name', 'ci', '--models', 'sketch,dall-e-3', '--scopes', 'generate')).stdout.trim()
  const id = key.slice(11, 19)
  expect(await run(atelier, 'keys', 'update', id, '--name', 'new', '--providers', 'sketch', '--json')).toMatchObject({
    code: 0,
    stderr: ''
  })
  const {
    api_keys: [first]
  } = JSON.parse((await run(atelier, 'keys', 'list', '--json')).stdout)
  expect(first).toMatchObject({
    id,
    organization_id: 'default',
    name: 'new',
    scopes: ['generate'],
    limits: { models: ['sketch', 'dall-e-3'], providers: ['sketch'] }
  })
  expect(await run(atelier, 'keys', 'revoke', key)).toEqual({
    code: 0,
    stdout: `The API key ${id} is revoked; every process refuses it within about a second.\n`,
    stderr: ''
  })
  expect((await run(atelier, 'keys', 'list')).stdout).not.toContain(id)
  const all = await run(atelier, 'keys', 'list', '--all')
  expect(all.stdout).toMatch(new RegExp(`^${id} .* generate +revoked `, 'm'))
})

test('organizations are listed, disabled and enabled', async () => {
  await using atelier = await startAtelier()
  await run(atelier, 'orgs', 'create', 'acme', '--name', 'Acme Ltd')
  expect(await run(atelier, 'orgs', 'disable', 'acme')).toEqual({
    code: 0,
    stdout: 'The API keys of acme are refused now; requests that have begun are finished.\n',
    stderr: ''
  })
  const { stdout } = await run(atelier, 'orgs', 'list')
  expect(stdout.replace(/\d{4}-\d\d-\d\d/g, '<day>     ')).toBe(
    'ID       NAME      CREATED     PLATFORM KEYS  STATE\nacme     Acme Ltd  <day>       when-missing   disabled\ndefault  default   <day>       when-missing   active\n'
  )
  expect((await run(atelier, 'orgs', 'enable', 'acme', '--json')).stdout).toContain('"disabled": false')
})

test('no table is wider than 80 characters', async () => {
  await using atelier = await startAtelier({ environment: { OPENAI_API_KEY: 'sk-openai', STABILITY_API_KEY: 'sk-x', GEMINI_API_KEY: 'x' } })
  await run(atelier, 'orgs', 'create', 'a'.repeat(63), '--name', 'n'.repeat(200))
  await run(atelier, 'keys', 'create', '--org', 'a'.repeat(63), '--name', 'n'.repeat(200), '--expires', '1d')
  const tables = [await run(atelier, 'orgs', 'list'), await run(atelier, 'keys', 'list'), await run(atelier, 'models')]
  const lines = tables.flatMap(({ stdout }) => stdout.split('\n'))
  expect(lines.length).toBeGreaterThan(20)
  expect(lines.filter((line) => [...line].length > 80)).toEqual([])
})

test('the configured admin key of the same directory is used for a server on this machine', async () => {
  await using atelier = await startAtelier()
  await using directory = await createTemporaryDirectory()
  await writeFile(join(directory.path, 'atelier.yaml'), `admin_key: ${atelier.adminKey}\n`)
  const terminal = { directory: directory.path, environment: { ATELIER_URL: atelier.url } }
  expect(await runInProcess(['orgs', 'list'], terminal)).toMatchObject({ code: 0, stderr: '' })
})

test('no key of this machine is sent to another one, and the user is asked instead', async () => {
  await using directory = await createTemporaryDirectory()
  await writeFile(join(directory.path, 'atelier.yaml'), 'admin_key: key-of-the-operator-here\napi_key: key-of-every-caller-here\n')
  const elsewhere = { directory: directory.path, environment: { ATELIER_URL: 'http://atelier.invalid:8080' } }
  expect(await runInProcess(['orgs', 'list'], elsewhere)).toEqual({
    code: 1,
    stdout: '',
    stderr: 'atelier: there is no admin key: set ATELIER_ADMIN_KEY (`atelier new-key --admin`, where the server runs, makes one)\n'
  })
  expect((await runInProcess(['models'], elsewhere)).stderr).toBe(
    'atelier: there is no API key: set ATELIER_API_KEY (`atelier keys create` makes one)\n'
  )
  const questions: string[] = []
  const asked = await runInProcess(['orgs', 'list'], {
    ...elsewhere,
    askSecret: async (question) => {
      questions.push(question)
      return 'a-key-that-was-typed-in'
    }
  })
  expect([questions, asked.code, asked.stderr]).toEqual([
    ['Admin key: '],
    1,
    expect.stringContaining('no server answers at http://atelier.invalid:8080')
  ])
})

test('a key that the command makes for itself ends with it', async () => {
  await using directory = await createTemporaryDirectory()
  await using server = startProgram([], { directory: directory.path, environment: { ATELIER_LISTEN: '127.0.0.1:0' } })
  const environment = { ATELIER_URL: String((await server.logged('listening')).url) }
  const terminal = { directory: directory.path, environment }
  await runInProcess(['orgs', 'list'], terminal)
  const { stdout } = await runInProcess(['keys', 'list', '--all', '--json'], terminal)
  const own = JSON.parse(stdout).api_keys.filter(({ name }: { name: string }) => name.startsWith('local administrator: '))
  expect(own).toEqual([expect.objectContaining({ scopes: ['admin'], revoked_at: expect.any(Number), expires_at: expect.any(Number) })])
})

test('a server whose database is elsewhere takes such a key and a new one as well', async () => {
  await using storage = await startSharedStorage()
  await using atelier = await startAtelier(storage)
  await using directory = await createTemporaryDirectory()
  const terminal = { directory: directory.path, environment: { ...storage.environment, ATELIER_URL: atelier.url } }
  const { code, stdout, stderr } = await runInProcess(['keys', 'create', '--name', 'ci'], terminal)
  const note = 'No admin key is set: using one for this command alone, made through the configured database.\n'
  expect([code, looksLikeApiKey(stdout.trim()), stderr.startsWith(note)]).toEqual([0, true, true])
  const made = await runInProcess(['new-key'], terminal)
  expect([made.code, made.stderr]).toEqual([
    0,
    'This is the new API key of the configured database; it is not shown again. One that was made before no longer works.\n'
  ])
  const statusOf = async (key: string) => (await atelier.get('/v1/models', { authorization: `Bearer ${key.trim()}` })).status
  await expect.poll(() => statusOf(made.stdout)).toBe(200)
  expect(await statusOf(stdout)).toBe(200)
})

test('failures are told in a line that says what to do, and end with 1', async () => {
  await using atelier = await startAtelier()
  await using empty = await createTemporaryDirectory()
  await mkdir(join(empty.path, 'data'))
  const at = (url: string, key: string) => ({ directory: empty.path, environment: { ATELIER_URL: url, ATELIER_ADMIN_KEY: key } })
  const failures = [
    await run(atelier, 'keys', 'create', '--name', 'x', '--org', 'nobody'),
    await run(atelier, 'keys', 'revoke', 'nothing!'),
    await runInProcess(['orgs', 'list'], at(atelier.url, 'no-admin-key-at-all')),
    await runInProcess(['orgs', 'list'], at(atelier.url, atelier.apiKey)),
    await runInProcess(['orgs', 'list'], at('http://127.0.0.1:1', atelier.adminKey)),
    await runInProcess(['orgs', 'list'], { directory: empty.path, environment: { ATELIER_URL: atelier.url } })
  ]
  expect(failures).toEqual(
    [
      "there is no organization 'nobody': `atelier orgs create nobody` makes it",
      "there is no API key 'nothing!'",
      `the server at ${atelier.url} does not accept the key from ATELIER_ADMIN_KEY`,
      'this API key may not operate the server: the key is from ATELIER_ADMIN_KEY',
      'no server answers at http://127.0.0.1:1 (ECONNREFUSED): start one with `atelier serve`, or name another with --url',
      'there is no admin key: set ATELIER_ADMIN_KEY (`atelier new-key --admin`, where the server runs, makes one)'
    ].map((problem) => ({ code: 1, stdout: '', stderr: `atelier: ${problem}\n` }))
  )
})

test.each([
  [['keys'], 'keys needs to know what to do: create, list, update, revoke', 'keys'],
  [['keys', 'creat'], 'there is no command keys creat; did you mean keys create?', 'keys'],
  [['keys', 'create'], 'keys create needs --name, which says what the key is for', 'keys create'],
  [['keys', 'create', '--name'], '--name needs a value', 'keys create'],
  [['keys', 'create', '--name', '--json'], '--name needs a value', 'keys create'],
  [['keys', 'create', '--name', 'a', '--name', 'b'], '--name is given twice', 'keys create'],
  [['keys', 'create', '--name', 'x', '--scopes', 'paint'], '--scopes knows generate, edit, read_tasks, admin, not paint', ''],
  [['keys', 'create', '--name', 'x', '--nam', 'y'], 'keys create has no option --nam; did you mean --name?', 'keys create'],
  [['keys', 'update', 'x'], 'keys update needs to know what to change', 'keys update'],
  [['keys', 'revoke'], 'keys revoke needs <id>', 'keys revoke'],
  [['keys', 'revoke', 'a', 'b'], 'keys revoke takes one argument, and there is b', 'keys revoke'],
  [['orgs', 'list', '--url', 'ftp://x'], "the server's address must be like http://127.0.0.1:8080, not ftp://x", ''],
  [['orgs', 'list', '--admin-key', 'x'], 'orgs list has no option --admin-key', 'orgs list']
])('arguments such as %j end it with 2', async (args, problem, topic) => {
  const more = topic === '' ? '`atelier help` lists the commands.' : `\`atelier help ${topic}\` tells more.`
  expect(await runInProcess(args)).toEqual({ code: 2, stdout: '', stderr: `atelier: ${problem}\n${more}\n` })
})

/** Runs a command that has both keys of the server, in this process. */
function run(atelier: TestServer, ...args: string[]) {
  return runInProcess(args, {
    environment: { ATELIER_URL: atelier.url, ATELIER_ADMIN_KEY: atelier.adminKey, ATELIER_API_KEY: atelier.apiKey }
  })
}
