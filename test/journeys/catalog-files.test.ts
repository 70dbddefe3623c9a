import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadCatalog } from '../../src/routing/catalog.ts'
import { startAtelier } from '../support/atelier.ts'
import { startFakeOpenAI } from '../support/fake-openai.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const turbo = `
vendor: basement
adapters: [openai]
models:
  - name: sd-turbo
    status: live
    capabilities: { size: { list: { sizes: ["512x512"] } }, max_images_per_call: 1, delivery_form: base64 }
    pricing: { lines: [{ unit: image, micros: 1000 }], source: ours, checked: 2026-11-20 }
    source: ours
    checked: 2026-11-20
`

test("describes the models of a provider of one's own: sizes are checked and prices known before anything is sent", async () => {
  await using directory = await createTemporaryDirectory()
  await using upstream = await startFakeOpenAI()
  const file = join(directory.path, 'models.yaml')
  await writeFile(file, turbo)
  const basement = { name: 'basement', adapter: 'openai', baseUrl: upstream.url, apiKey: '', models: [], headers: {}, maxConnections: 4 }
  await using atelier = await startAtelier({ settings: { catalogFiles: [file], providers: [basement] } })

  const listed = (await (await atelier.get('/v1/models')).json()) as { data: { id: string; owned_by: string }[] }
  expect(listed.data.map(({ id, owned_by }) => [id, owned_by])).toEqual([['sd-turbo', 'basement']])
  const refused = await atelier.post('/v1/images/generations', { model: 'sd-turbo', prompt: 'a cat', size: '1024x1024' })
  expect([refused.status, await refused.json()]).toMatchObject([400, { error: { code: 'invalid_size', param: 'size' } }])
  const estimate = await atelier.post('/v1/images/estimate', { model: 'sd-turbo', prompt: 'a cat', n: 3 })
  expect(await estimate.json()).toMatchObject({ provider: 'basement', estimate: { total_micros: 3000 } })
  expect(upstream.requests).toEqual([])
})

test('replaces what the built-in catalog says about a model', async () => {
  await using directory = await createTemporaryDirectory()
  const file = join(directory.path, 'openai.yaml')
  const mine = 'name: gpt-image-2, status: preview, capabilities: { max_images_per_call: 2 }, source: ours, checked: 2026-11-20'
  await writeFile(file, `vendor: openai\nmodels: [{ ${mine} }]`)
  const models = loadCatalog({ files: [file] }).find(({ vendor }) => vendor === 'openai')?.models ?? []
  expect(models.filter(({ name }) => name === 'gpt-image-2').map(({ capabilities }) => capabilities?.maxImagesPerCall)).toEqual([2])
  expect(models.length).toBe(loadCatalog().find(({ vendor }) => vendor === 'openai')?.models.length)
})

test('names the file, the place and the problem of a file that cannot be used', async () => {
  await using directory = await createTemporaryDirectory()
  const file = join(directory.path, 'mine.yaml')
  await writeFile(file, turbo.replace('sd-turbo', 'dall-e-3'))
  expect(() => loadCatalog({ files: [file] })).toThrow('mine.yaml: models[0]: dall-e-3 is a name of openai/dall-e-3 already')
})
