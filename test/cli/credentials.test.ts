import { describe, expect, test } from 'vitest'
import type { Terminal } from '../../src/cli/terminal.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { bin, runInProcess } from '../support/run-atelier.ts'
import { runCommand } from '../support/run-command.ts'

const withOpenAI = { environment: { OPENAI_API_KEY: 'sk-provider-0123456789abcdef' } }
const secret = 'sk-acme-own-0123456789abcdef'

describe('atelier credentials', () => {
  test('stores a key that is piped in, lists it without the key, and deletes it by its name', async () => {
    await using atelier = await startAtelier(withOpenAI)
    await run(atelier, ['orgs', 'create', 'acme'])
    expect(await run(atelier, ['credentials', 'set', 'openai', '--org', 'acme', '--weight', '3'], piped(`${secret}\n`))).toEqual({
      code: 0,
      stdout: "Requests of acme for openai use the organization's own key openai, within about a second.\n",
      stderr: ''
    })
    const listed = await run(atelier, ['credentials', 'list'])
    expect(listed.stdout.replaceAll(/cred_\w{22}/g, '<id>').split('\n')).toEqual([
      'ID                           ORG   PROVIDER  NAME    WEIGHT  KEY    LAST USED',
      expect.stringMatching(/^<id> {2}acme {2}openai {4}openai {2}3 {7}…cdef {2}never$/),
      ''
    ])
    expect(await run(atelier, ['credentials', 'delete', 'openai', '--org', 'acme'])).toEqual({
      code: 0,
      stdout: 'The credential openai of acme is deleted; no process uses it any more within about a second.\n',
      stderr: ''
    })
    expect(await run(atelier, ['credentials', 'delete', 'openai', '--org', 'acme'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'atelier: there is no credential openai of acme\n'
    })
  })

  test('asks for the key where nothing is piped in, and shows none of it', async () => {
    await using atelier = await startAtelier(withOpenAI)
    const questions: string[] = []
    const askSecret = async (question: string) => {
      questions.push(question)
      return secret
    }
    const set = await run(atelier, ['credentials', 'set', 'openai', '--name', 'second', '--weight', '0', '--json'], { askSecret })
    expect([set.code, questions, JSON.parse(set.stdout)]).toEqual([
      0,
      ['Openai API key: '],
      expect.objectContaining({ organization_id: 'default', provider: 'openai', name: 'second', hint: 'cdef' })
    ])
    expect(set.stdout + set.stderr).not.toContain('sk-acme')
  })

  test('changes the weight alone', async () => {
    await using atelier = await startAtelier(withOpenAI)
    await run(atelier, ['credentials', 'set', 'openai'], piped(secret))
    const kept = await run(atelier, ['credentials', 'set', 'openai', '--weight', '0', '--keep-key'])
    expect(kept).toEqual({
      code: 0,
      stdout: 'Requests of default that name it use the openai key openai, within about a second.\n',
      stderr: ''
    })
    const { credentials } = JSON.parse((await run(atelier, ['credentials', 'list', '--json'])).stdout)
    expect(credentials).toMatchObject([{ name: 'openai', hint: 'cdef' }])
  })

  test.each([
    [
      ['credentials', 'set', 'openai'],
      {},
      1,
      'atelier: there is no openai API key: pipe it in, or type it where the command asks for it\n'
    ],
    [
      ['credentials', 'set', 'openai'],
      piped(' \n'),
      1,
      'atelier: there is no openai API key: pipe it in, or type it where the command asks for it\n'
    ],
    [
      ['credentials', 'set', 'nobody'],
      piped(secret),
      1,
      expect.stringContaining('provider: must be a configured provider that takes a key: openai')
    ],
    [['credentials', 'set', 'openai', '--org', 'nobody'], piped(secret), 1, expect.stringContaining("there is no organization 'nobody'")],
    [
      ['credentials', 'set', 'openai', '--weight', 'two'],
      piped(secret),
      2,
      expect.stringContaining('--weight must be a whole number from 0 to 1000, not two')
    ],
    [['credentials', 'set', 'openai', '--keep-key'], {}, 2, expect.stringContaining('--keep-key changes nothing without --weight')],
    [
      ['credentials', 'set', 'openai', secret],
      piped(secret),
      2,
      'atelier: credentials set takes the provider alone: the key comes from a pipe, or is asked for\n`atelier help credentials set` tells more.\n'
    ],
    [['credentials', 'delete', 'cred_nothing'], {}, 1, 'atelier: there is no credential cred_nothing\n'],
    [
      ['orgs', 'update', 'default', '--platform-keys', 'sometimes'],
      {},
      2,
      expect.stringContaining('--platform-keys knows never, when-missing, also-when-refused, not sometimes')
    ],
    [['orgs', 'update', 'default'], {}, 2, expect.stringContaining('orgs update needs to know what to change')]
  ] as const)('%j is refused with what to do', async (args, terminal, code, stderr) => {
    await using atelier = await startAtelier(withOpenAI)
    expect(await run(atelier, args, terminal)).toEqual({ code, stdout: '', stderr })
  })

  test('reads the key from the standard input of the real program', async () => {
    await using atelier = await startAtelier(withOpenAI)
    const environment = { ATELIER_URL: atelier.url, ATELIER_ADMIN_KEY: atelier.adminKey }
    const set = await runCommand(process.execPath, [bin, 'credentials', 'set', 'openai'], { input: `${secret}\n`, environment })
    expect([set.code, set.stderr]).toEqual([0, ''])
    const { credentials } = JSON.parse((await run(atelier, ['credentials', 'list', '--json'])).stdout)
    expect(credentials).toMatchObject([{ name: 'openai', hint: 'cdef', weight: 1 }])
  })
})

test('atelier orgs says and changes when the configured keys serve an organization', async () => {
  await using atelier = await startAtelier(withOpenAI)
  await run(atelier, ['orgs', 'create', 'acme', '--platform-keys', 'never'])
  await run(atelier, ['orgs', 'update', 'default', '--platform-keys', 'also-when-refused', '--name', 'Ours'])
  const { organizations } = JSON.parse((await run(atelier, ['orgs', 'list', '--json'])).stdout)
  expect(organizations).toMatchObject([
    { id: 'acme', platform_credentials: 'never' },
    { id: 'default', name: 'Ours', platform_credentials: 'also_when_refused' }
  ])
  const table = (await run(atelier, ['orgs', 'list'])).stdout
  expect(table.split('\n').map((line) => line.replace(/\d{4}-\d\d-\d\d/, '<day>'))).toEqual([
    'ID       NAME  CREATED     PLATFORM KEYS      STATE',
    'acme     acme  <day>  never              active',
    'default  Ours  <day>  also-when-refused  active',
    ''
  ])
})

function piped(text: string): Partial<Terminal> {
  return { readInput: async () => text }
}

function run({ url, adminKey }: TestServer, args: readonly string[], terminal: Partial<Terminal> = {}) {
  return runInProcess(args, { environment: { ATELIER_URL: url, ATELIER_ADMIN_KEY: adminKey }, ...terminal })
}
