import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConnectError, createClient } from '@connectrpc/connect'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ModerationFailure } from '../../gen/atelier/v1/content_policy_pb.ts'
import { ContentPolicyService } from '../../gen/atelier/v1/content_policy_service_pb.ts'
import { ImageService } from '../../gen/atelier/v1/image_service_pb.ts'
import { TaskService } from '../../gen/atelier/v1/task_service_pb.ts'
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { adminOf, connectWith, createKey, refusalOf } from '../support/admin.ts'
import { startAtelier, type TestServer } from '../support/atelier.ts'
import { startFakeAzure } from '../support/fake-azure.ts'
import { startFakeGoogle } from '../support/fake-google.ts'
import { type FakeModeration, startFakeModeration } from '../support/fake-moderation.ts'
import { startFakeOpenAI } from '../support/fake-openai.ts'
import { startFakeStability } from '../support/fake-stability.ts'
import { pixel } from '../support/held-upstream.ts'
import { runInProcess } from '../support/run-atelier.ts'
import { startSharedStorage } from '../support/shared-storage.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const moderationKey = 'sk-moderation-canary-0123456789'

describe.each(['SQLite', 'PostgreSQL'] as const)('on %s', (kind) => {
  const parts = new AsyncDisposableStack()
  let moderation: FakeModeration
  let atelier: TestServer
  let shared: Record<string, string> = {}
  let organization: string
  let key: string
  let organizations = 0

  beforeAll(async () => {
    moderation = parts.use(await startFakeModeration({ apiKey: moderationKey }))
    if (kind === 'PostgreSQL') shared = parts.use(await startSharedStorage()).environment
    atelier = parts.use(await startServer())
  })
  afterAll(() => parts.disposeAsync())
  beforeEach(async () => {
    moderation.trouble = undefined
    moderation.asked.length = 0
    organization = `org-${++organizations}`
    await adminOf(atelier).createOrganization({ id: organization })
    key = (await createKey(atelier, { organizationId: organization })).key
  })

  function startServer(): Promise<TestServer> {
    return startAtelier({
      environment: { OPENAI_API_KEY: 'sk-never-called', OPENAI_BASE_URL: 'http://127.0.0.1:1/v1', ...shared },
      settings: { egressAllow: [`127.0.0.1:${moderation.port}`] }
    })
  }

  const policiesOf = (server: TestServer) => createClient(ContentPolicyService, connectWith(server.url, server.adminKey))

  async function setPolicy(blockedPatterns: string[], endpoint?: Record<string, unknown>) {
    const asked = endpoint && { url: moderation.url, model: 'omni-moderation-latest', key: moderationKey, ...endpoint }
    const request = { organizationId: organization, blockedPatterns, ...(asked && { moderation: asked }) }
    return (await policiesOf(atelier).setContentPolicy(request)).policy
  }

  function ask(prompt: string, body: object = {}, headers: Record<string, string> = {}): Promise<Response> {
    const request = { model: 'sketch', size: '64x64', response_format: 'b64_json', prompt, ...body }
    return atelier.post('/v1/images/generations', request, { authorization: `Bearer ${key}`, ...headers })
  }

  test('an option that is longer than any prompt is looked through all the same', async () => {
    await setPolicy(['bomb'])
    const system_instruction = `${'nothing '.repeat(17_000)}bomb`
    expect((await ask('a cat', { system_instruction })).status).toBe(400)
    await setPolicy([], {})
    await ask('a cat', { system_instruction, init_image: 'QUJD'.repeat(40_000) })
    expect(moderation.asked.map(({ input }) => input)).toEqual([`a cat\n\n${system_instruction}`])
  })

  test('a prompt with a blocked word is refused before anything is recorded, and others are not', async () => {
    await setPolicy(['bomb*', 'new york'])
    const refused = await ask('two BOMBS in a park')
    expect([refused.status, refused.headers.get('x-atelier-task-id'), await refused.json()]).toEqual([
      400,
      null,
      {
        error: {
          message: 'the prompt holds what the content policy of this organization blocks',
          type: 'invalid_request_error',
          param: 'prompt',
          code: 'content_policy_violation'
        }
      }
    ])
    expect([(await ask('New-York at night')).status, (await ask('a snowball in York')).status]).toEqual([400, 200])
  })

  test('a gpt-image name words the refusal as OpenAI does, with stage and category', async () => {
    await setPolicy(['bomb'])
    const { error } = (await (await ask('a bomb', { model: 'gpt-image-1', size: 'auto', response_format: undefined })).json()) as {
      error: object
    }
    expect(error).toEqual({
      message: 'the prompt holds what the content policy of this organization blocks',
      type: 'image_generation_user_error',
      param: 'prompt',
      code: 'moderation_blocked',
      moderation_details: { moderation_stage: 'input', categories: ['blocked_pattern'] }
    })
  })

  test('it holds for every way in: streams, background tasks, edits, RPC, and for texts in options that only a provider knows', async () => {
    await setPolicy(['bomb'])
    const form = new FormData()
    form.set('model', 'sketch')
    form.set('prompt', 'a bomb')
    form.set('image', new Blob([Buffer.from(pixel, 'base64')], { type: 'image/png' }), 'a.png')
    const edit = await fetch(`${atelier.url}/v1/images/edits`, { method: 'POST', headers: { authorization: `Bearer ${key}` }, body: form })
    const rpc = connectWith(atelier.url, key)
    const request = { prompt: 'a bomb', modelSelector: { case: 'modelName', value: 'sketch' } } as const
    const enveloped = { model: 'sketch', prompt: 'a bomb' }
    const said = 'the prompt holds what the content policy of this organization blocks'
    const answers = await Promise.all([
      ask('a bomb', { stream: true }),
      ask('a bomb', {}, { prefer: 'respond-async' }),
      atelier.post('/v1/openai/images/generations', enveloped, { authorization: `Bearer ${key}` }),
      ask('a cat', { notes: { inside: ['quiet', 'a bomb'] } }),
      edit
    ])
    const refusals = await Promise.all(answers.map(async (answer) => [answer.status, (await answer.text()).includes(said)]))
    expect(refusals).toEqual(answers.map(() => [400, true]))
    expect([
      await refusalOf(createClient(ImageService, rpc).generateImages(request)),
      await refusalOf(createClient(TaskService, rpc).createTask({ operation: { case: 'generation', value: request } }))
    ]).toEqual([
      ['InvalidArgument', said],
      ['InvalidArgument', said]
    ])
    const tasks = await fetch(`${atelier.url}/v1/tasks`, { headers: { authorization: `Bearer ${key}` } })
    expect(((await tasks.json()) as { data: unknown[] }).data).toEqual([])
  })

  test('a negative prompt may name what shall not be seen', async () => {
    await setPolicy(['bomb'])
    expect((await ask('a park', { negative_prompt: 'bomb' })).status).toBe(200)
  })

  test('one organization’s policy is no other’s, and what is deleted holds no more', async () => {
    await setPolicy(['bomb'])
    expect([(await atelier.post('/v1/images/generations', sketchOf('a bomb'))).status, (await ask('a bomb')).status]).toEqual([200, 400])
    await policiesOf(atelier).deleteContentPolicy({ organizationId: organization })
    expect((await ask('a bomb')).status).toBe(200)
    await policiesOf(atelier).deleteContentPolicy({ organizationId: organization })
  })

  test('an endpoint judges each prompt, and names what it saw', async () => {
    await setPolicy([], {})
    expect((await ask('a cat in a hat')).status).toBe(200)
    const refused = await ask('hate and violence', { model: 'gpt-image-1', size: 'auto', response_format: undefined })
    expect([refused.status, await refused.json()]).toMatchObject([
      400,
      {
        error: {
          message: 'the prompt was flagged by the moderation endpoint of this organization: hate, violence',
          code: 'moderation_blocked',
          moderation_details: { moderation_stage: 'input', categories: ['hate', 'violence'] }
        }
      }
    ])
    expect(moderation.asked.map(({ input, model }) => [input, model])).toEqual([
      ['a cat in a hat', 'omni-moderation-latest'],
      ['hate and violence', 'omni-moderation-latest']
    ])
  })

  test('the endpoint is not asked about what is blocked already', async () => {
    await setPolicy(['bomb'], {})
    expect([(await ask('a bomb')).status, moderation.asked.length]).toEqual([400, 0])
  })

  test.each(['rate limited', 'overloaded', 'silent', 'broken', 'cut off', 'not JSON'] as const)(
    'a policy that fails closed refuses while the endpoint is %s, and one that fails open serves',
    async (trouble) => {
      moderation.trouble = trouble
      await setPolicy([], { timeoutMs: 200 })
      const refused = await ask('a cat')
      const { error } = (await refused.json()) as { error: { code: string; type: string } }
      expect([refused.status, error.code, error.type]).toEqual([503, 'moderation_unavailable', 'service_unavailable_error'])
      expect([refused.headers.get('retry-after'), refused.headers.get('x-should-retry')]).toEqual([
        trouble === 'rate limited' ? '7' : '1',
        null
      ])
      await setPolicy([], { timeoutMs: 200, onFailure: ModerationFailure.OPEN })
      expect((await ask('a cat')).status).toBe(200)
    }
  )

  test('a key that the endpoint refuses is the operator’s trouble: nobody is told to send the request again', async () => {
    await setPolicy([], { key: 'sk-wrong-0123456789' })
    const refused = await ask('a cat')
    expect([refused.status, refused.headers.get('x-should-retry'), refused.headers.get('retry-after')]).toEqual([503, 'false', null])
    expect(await refused.json()).toMatchObject({
      error: {
        message: 'the moderation endpoint that the content policy of this organization asks gave no answer: it answered with status 401'
      }
    })
  })

  test('what an endpoint that fails open lets through is still held against the words', async () => {
    moderation.trouble = 'overloaded'
    await setPolicy(['bomb'], { onFailure: ModerationFailure.OPEN })
    expect((await ask('a bomb')).status).toBe(400)
  })

  test('a caller who goes away ends the question', async () => {
    moderation.trouble = 'silent'
    await setPolicy([], {})
    const leaving = new AbortController()
    const asked = fetch(`${atelier.url}/v1/images/generations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify(sketchOf('a cat')),
      signal: leaving.signal
    })
    await expect.poll(() => moderation.asked.length).toBe(1)
    leaving.abort()
    await expect(asked).rejects.toThrow()
    await moderation.closed()
  })

  test('the key can be replaced and never read, and goes nowhere but to the origin that it was set for', async () => {
    const policy = await setPolicy(['bomb'], {})
    expect(policy).toMatchObject({
      organizationId: organization,
      blockedPatterns: ['bomb'],
      blockedPatternCount: 1,
      moderation: {
        url: moderation.url,
        model: 'omni-moderation-latest',
        hasKey: true,
        keyHint: '6789',
        timeoutMs: 5_000,
        onFailure: ModerationFailure.CLOSED
      }
    })
    expect((await policiesOf(atelier).getContentPolicy({ organizationId: organization })).policy).toEqual(policy)
    expect(await setPolicy([], { key: undefined, timeoutMs: 1_000 })).toMatchObject({ moderation: { hasKey: true, timeoutMs: 1_000 } })
    expect((await ask('a cat')).status).toBe(200)
    const elsewhere = await setPolicy([], { key: undefined, url: 'https://elsewhere.example/v1/moderations' })
    expect(elsewhere).toMatchObject({ moderation: { hasKey: false, keyHint: '' } })
    expect(await setPolicy([], { key: undefined })).toMatchObject({ moderation: { hasKey: false } })
    expect(await setPolicy([], { key: '' })).toMatchObject({ moderation: { hasKey: false } })
  })

  test('policies are listed by organization, in pages, without their words', async () => {
    await setPolicy(['one', 'two'], {})
    const first = await policiesOf(atelier).listContentPolicies({ pageSize: 1 })
    const all = await policiesOf(atelier).listContentPolicies({ pageSize: 100 })
    expect([first.policies.length, first.nextPageToken === '', all.nextPageToken]).toEqual([1, all.policies.length === 1, ''])
    expect(all.policies.map(({ organizationId }) => organizationId)).toEqual(
      all.policies.map(({ organizationId }) => organizationId).toSorted()
    )
    expect(all.policies.find(({ organizationId }) => organizationId === organization)).toMatchObject({
      blockedPatterns: [],
      blockedPatternCount: 2
    })
  })

  test('policies are refused with what is wrong', async () => {
    const policies = policiesOf(atelier)
    const set = (request: object) => policies.setContentPolicy({ organizationId: organization, ...request })
    expect([
      await refusalOf(set({ organizationId: 'nobody' })),
      await refusalOf(set({ blockedPatterns: ['fine', '***'] })),
      await refusalOf(set({ blockedPatterns: ['two\nlines'] })),
      await refusalOf(set({ blockedPatterns: Array.from({ length: 5_001 }, () => 'x') })),
      await refusalOf(set({ moderation: { url: 'http://moderation.example/v1/moderations' } })),
      await refusalOf(set({ moderation: { url: 'https://10.0.0.1/v1/moderations' } })),
      await refusalOf(set({ moderation: { url: 'https://user:pass@moderation.example/' } })),
      await refusalOf(set({ moderation: { url: moderation.url, key: 'with a blank' } })),
      await refusalOf(set({ moderation: { url: moderation.url, timeoutMs: 99 } })),
      await refusalOf(policies.getContentPolicy({ organizationId: organization })),
      await refusalOf(policies.deleteContentPolicy({ organizationId: 'nobody' })),
      await refusalOf(policies.listContentPolicies({ pageToken: 'made-up' }))
    ]).toEqual([
      ['NotFound', "there is no organization 'nobody'"],
      ['InvalidArgument', 'blocked_patterns[1]: must hold a letter, a digit or a symbol besides "*"'],
      ['InvalidArgument', 'blocked_patterns[0]: must be on one line'],
      ['InvalidArgument', expect.stringContaining('blocked_patterns: ')],
      ['InvalidArgument', expect.stringContaining('moderation.url: the url to moderation.example is not https')],
      ['InvalidArgument', expect.stringContaining('moderation.url: 10.0.0.1 is not a public host')],
      ['InvalidArgument', expect.stringContaining('holds credentials')],
      ['InvalidArgument', expect.stringContaining('moderation.key: ')],
      ['InvalidArgument', expect.stringContaining('moderation.timeout_ms: ')],
      ['NotFound', `there is no content policy of '${organization}'`],
      ['NotFound', "there is no organization 'nobody'"],
      ['InvalidArgument', 'page_token: must be the next_page_token of the page before']
    ])
    await policies.deleteContentPolicy({ organizationId: organization })
  })

  test('ten changes at the same time leave the policy as one of them', async () => {
    await Promise.all(Array.from({ length: 10 }, (_, index) => setPolicy([`word${index}`], { key: `sk-moderation-number-${index}` })))
    const { policy } = await policiesOf(atelier).getContentPolicy({ organizationId: organization })
    const index = policy?.blockedPatterns[0]?.replace('word', '')
    expect([policy?.blockedPatterns.length, policy?.moderation?.keyHint]).toEqual([1, `er-${index}`])
  })

  test('neither the prompt nor the key of the endpoint is in the log, the metrics, the database or its files', async () => {
    const prompt = 'violence about canary-prompt-4711'
    await setPolicy(['bomb'], {})
    expect([(await ask(prompt)).status, (await ask(`${prompt} bomb`)).status]).toEqual([400, 400])
    moderation.trouble = 'overloaded'
    expect((await ask(prompt)).status).toBe(503)
    await setPolicy([], { onFailure: ModerationFailure.OPEN })
    expect((await ask(prompt)).status).toBe(200)
    const metrics = await fetch(`${atelier.url}/metrics`, { headers: { authorization: `Bearer ${atelier.adminKey}` } })
    const database = await openDatabase({ dataDir: atelier.dataDir, databaseUrl: shared.DATABASE_URL })
    const rows = await database.query.selectFrom('content_policies').selectAll().execute()
    await database[Symbol.asyncDispose]()
    const files = await Promise.all(
      (await readdir(atelier.dataDir, { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => readFile(join(entry.parentPath, entry.name), 'latin1'))
    )
    const row = JSON.stringify(rows.map((each) => ({ ...each, moderation_key: Buffer.from(each.moderation_key ?? []).toString('latin1') })))
    const everything = [...atelier.logLines, await metrics.text(), row, ...files].join('\n')
    expect(atelier.logLines.join('')).toContain('a moderation endpoint gave no answer: the request was let through')
    expect(['canary-prompt-4711', moderationKey, 'moderation-canary'].filter((canary) => everything.includes(canary))).toEqual([])
  })

  test.runIf(kind === 'PostgreSQL')('another server holds to a changed policy within a second', async () => {
    await using other = await startServer()
    const askOther = async () =>
      (await fetch(`${other.url}/v1/images/generations`, { ...postOf('a bomb'), headers: headersOf(key) })).status
    expect(await askOther()).toBe(200)
    await setPolicy(['bomb'], {})
    await expect.poll(askOther, { timeout: 1_000, interval: 20 }).toBe(400)
  })
})

describe('what a provider refuses', () => {
  test.each([
    ['openai', 'gpt-image-1', '[moderated-output]', 'output', ['violence']],
    ['azure', 'gpt-image-2', '[moderated]', 'unknown', ['violence']],
    ['google', 'nano-banana-pro', '[rated]', 'output', ['sexually_explicit']],
    ['stability', 'stable-image-core', '[filtered]', 'output', []],
    ['sketch', 'sketch', '', 'input', []]
  ] as const)('keeps its stage and its categories in the task of %s', async (provider, model, behaviour, stage, categories) => {
    await using parts = new AsyncDisposableStack()
    const atelier = await startWith(provider, parts)
    const request = { model, prompt: `a fox ${behaviour}`, ...(provider === 'sketch' && { fail: 'moderation' }) }
    const accepted = await atelier.post('/v1/images/generations', request, { prefer: 'respond-async' })
    const { id } = (await accepted.json()) as { id: string }
    const task = (await (await atelier.get(`/v1/tasks/${id}?wait=20`)).json()) as { error: object }
    expect(task.error).toMatchObject({
      code: 'content_policy_violation',
      moderation_details: { moderation_stage: stage, categories }
    })
    const overRpc = await createClient(TaskService, connectWith(atelier.url, atelier.apiKey)).getTask({ id })
    expect(overRpc.task?.error).toMatchObject({ moderationStage: stage, moderationCategories: categories })
  })

  test('keeps both when it is repeated under its key', async () => {
    await using parts = new AsyncDisposableStack()
    const atelier = await startWith('google', parts)
    const { generateImages } = createClient(ImageService, connectWith(atelier.url, atelier.apiKey))
    const model = { case: 'modelName', value: 'nano-banana-pro' } as const
    const ask = () => infoOf(generateImages({ prompt: 'a fox [rated]', requestId: 'the same', modelSelector: model }))
    const [first, again] = [await ask(), await ask()]
    expect(first).toMatchObject({ moderationStage: 'output', moderationCategories: 'sexually_explicit', outcome: 'unknown' })
    expect({ ...again, requestId: '' }).toEqual({ ...first, requestId: '' })
  })
})

describe('on the command line', () => {
  test('a policy is set piece by piece, shown, listed and deleted', async () => {
    await using moderation = await startFakeModeration({ apiKey: moderationKey })
    await using atelier = await startAtelier({ settings: { egressAllow: [`127.0.0.1:${moderation.port}`] } })
    await using directory = await createTemporaryDirectory()
    await writeFile(join(directory.path, 'words.txt'), '# what nobody may ask for\nbomb*\n\n  new york  \r\n')
    const terminal = { directory: directory.path, environment: { ATELIER_URL: atelier.url, ATELIER_ADMIN_KEY: atelier.adminKey } }
    const run = (...args: string[]) => runInProcess(['policy', ...args], { ...terminal, readInput: async () => `${moderationKey}\n` })
    const said = { code: 0, stderr: '', stdout: 'The policy holds for default; every process follows within about a second.\n' }
    expect(await run('set', '--block-file', 'words.txt')).toEqual(said)
    expect(await run('set', '--moderation-url', moderation.url, '--with-key', '--moderation-timeout', '2s')).toEqual(said)
    expect(await run('set', '--fail', 'open', '--moderation-model', 'omni-moderation-latest')).toEqual(said)
    expect((await run('show')).stdout).toBe(
      'The policy for default blocks\n  bomb*\n  new york\n' +
        `and asks ${moderation.url} (omni-moderation-latest) with the key …6789, for 2 s at most; without an answer it fails open.\n`
    )
    expect((await atelier.post('/v1/images/generations', sketchOf('violence'))).status).toBe(400)
    expect((await run('list')).stdout.replace(/\d{4}-\d\d-\d\d/, '<day>').split(/\n| {2,}/)).toEqual([
      'ORG',
      'BLOCKS',
      'MODERATION',
      'FAILS',
      'CHANGED',
      'default',
      '2',
      moderation.url,
      'open',
      '<day>',
      ''
    ])
    expect(JSON.parse((await run('show', '--json')).stdout)).toMatchObject({ blocked_patterns: ['bomb*', 'new york'] })
    expect(await run('set', '--moderation-url', 'none')).toEqual(said)
    expect((await run('show')).stdout).toBe('The policy for default blocks\n  bomb*\n  new york\nand asks no moderation endpoint.\n')
    expect((await run('delete', '--org', 'default')).stdout).toBe('There is no policy for default any more.\n')
    expect(await run('show')).toEqual({ code: 1, stdout: '', stderr: "atelier: there is no content policy of 'default'\n" })
  })

  test.each([
    [['set'], 2, 'policy set needs to know what to change'],
    [['set', '--fail', 'ajar'], 2, '--fail knows closed and open, not ajar'],
    [['set', '--moderation-timeout', '1h'], 2, '--moderation-timeout must be from 100ms to 30s, not 1h'],
    [['set', '--block-file', 'nowhere.txt'], 1, /nowhere\.txt cannot be read: ENOENT/],
    [['delete'], 2, 'policy delete needs --org, which says whose']
  ])('%j ends with what is wrong', async (args, code, problem) => {
    const run = await runInProcess(['policy', ...args])
    expect([run.code, run.stdout]).toEqual([code, ''])
    expect(run.stderr).toMatch(problem)
  })

  test('a line that says nothing is named by its number', async () => {
    await using directory = await createTemporaryDirectory()
    await writeFile(join(directory.path, 'words.txt'), 'bomb\n***\n')
    const run = await runInProcess(['policy', 'set', '--block-file', 'words.txt'], { directory: directory.path })
    expect(run).toEqual({
      code: 1,
      stdout: '',
      stderr: `atelier: line 2 of ${join(directory.path, 'words.txt')} must hold a letter, a digit or a symbol besides "*"\n`
    })
  })
})

/** A server with this provider, and a fake of its vendor behind that. */
async function startWith(provider: string, parts: AsyncDisposableStack): Promise<TestServer> {
  const apiKey = 'sk-provider-0123456789abcdef'
  return parts.use(await startAtelier({ environment: await environmentFor() }))

  async function environmentFor(): Promise<Record<string, string>> {
    if (provider === 'openai') {
      const openai = parts.use(await startFakeOpenAI({ apiKey }))
      return { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: openai.url }
    }
    if (provider === 'google') {
      const google = parts.use(await startFakeGoogle({ apiKey }))
      return { GEMINI_API_KEY: apiKey, GEMINI_BASE_URL: google.url }
    }
    if (provider === 'stability') {
      const stability = parts.use(await startFakeStability({ apiKey }))
      return { STABILITY_API_KEY: apiKey, STABILITY_BASE_URL: stability.url }
    }
    if (provider === 'azure') {
      const azure = parts.use(await startFakeAzure({ apiKey, deployments: { 'paint-2': 'gpt-image-2' } }))
      const settings = `base_url: "${azure.url}", api_key: ${apiKey}, deployments: { gpt-image-2: paint-2 }`
      const directory = parts.use(await createTemporaryDirectory())
      const file = join(directory.path, 'atelier.yaml')
      await writeFile(file, `providers:\n  azure: { ${settings} }\n`)
      return { ATELIER_CONFIG: file }
    }
    return {}
  }
}

/** What an error tells clients besides its message. */
async function infoOf(answer: Promise<unknown>): Promise<Record<string, string>> {
  const error = await answer.then(
    () => undefined,
    (thrown: unknown) => thrown
  )
  if (!(error instanceof ConnectError)) throw new Error('the call was not refused')
  return error.findDetails(ErrorInfoSchema)[0]?.metadata ?? {}
}

function sketchOf(prompt: string) {
  return { model: 'sketch', size: '64x64', response_format: 'b64_json', prompt }
}

function postOf(prompt: string) {
  return { method: 'POST', body: JSON.stringify(sketchOf(prompt)) }
}

function headersOf(key: string) {
  return { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
}
