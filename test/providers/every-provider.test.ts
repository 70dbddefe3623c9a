import { expect, test } from 'vitest'
import { createSketchProvider } from '../../src/providers/sketch.ts'
import { adapters } from '../../src/server/adapters.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import { type ProviderUnderTest, providerSuite, suiteCredential, suiteHeader } from '../suites/provider.ts'
import { startFakeAzure } from '../support/fake-azure.ts'
import { startFakeGoogle } from '../support/fake-google.ts'
import { startFakeOpenAI } from '../support/fake-openai.ts'
import { startFakeStability } from '../support/fake-stability.ts'
import { leftHalfMask, plainImage } from '../support/input-images.ts'

const apiKey = suiteCredential
const openaiWords = {
  moderated: ['[moderated]', '[moderated-output]'],
  rateLimited: '[rate-limit]',
  keyRefused: ['[quota]', '[billing-limit]', '[unverified]'],
  failed: ['[server-error]', '[overloaded]', '[bad-gateway]', '[redirect]', '[error-200]'],
  broken: ['[malformed]', '[empty]', '[truncated]', '[short]', '[reset]'],
  hanging: '[hang]',
  hangingInside: '[hang-body]',
  handsOutEarly: true
}

const images = async () => [await plainImage('red'), await plainImage('blue', 'jpeg'), await plainImage('lime', 'webp')]
const manyImages = { images, mask: () => leftHalfMask() }

const stabilityWords = {
  moderated: ['[moderated]', '[all-filtered]'],
  rateLimited: '[rate-limit]',
  keyRefused: ['[no-credit]', '[forbidden]'],
  failed: ['[server-error]', '[bad-gateway]', '[redirect]', '[failed]'],
  broken: ['[not-an-image]', '[empty]', '[truncated]', '[reset]'],
  hanging: '[hang]',
  hangingInside: '[hang-body]'
}

const underTest: Readonly<Record<string, Omit<ProviderUnderTest, 'connect'> & { adapter: string }>> = {
  openai: {
    adapter: 'openai',
    startFake: () => startFakeOpenAI({ apiKey }),
    upstreamModel: 'gpt-image-1',
    mostImages: 3,
    words: openaiWords,
    edits: manyImages
  },
  azure: {
    adapter: 'azure',
    startFake: () => startFakeAzure({ apiKey, deployments: { paint: 'gpt-image-1' } }),
    upstreamModel: 'paint',
    mostImages: 3,
    words: { ...openaiWords, keyRefused: ['[blocked]', '[quota]'], failed: [...openaiWords.failed, '[timeout]'] },
    edits: manyImages
  },
  'stability, v1,': {
    adapter: 'stability',
    startFake: () => startFakeStability({ apiKey }),
    upstreamModel: 'stable-diffusion-xl-1024-v1-0',
    mostImages: 3,
    words: { ...stabilityWords, partlyModerated: '[filtered]' },
    edits: { images: async () => [await plainImage('red', 'png', 1024, 1024)], mask: () => leftHalfMask(1024, 1024) }
  },
  'stability, v2beta,': {
    adapter: 'stability',
    startFake: () => startFakeStability({ apiKey }),
    upstreamModel: 'core',
    mostImages: 1,
    words: { ...stabilityWords, handsOutEarly: true },
    edits: { upstreamModel: 'inpaint', images: async () => [await plainImage('red')], mask: () => leftHalfMask() }
  },
  google: {
    adapter: 'google',
    startFake: () => startFakeGoogle({ apiKey }),
    upstreamModel: 'gemini-3-pro-image',
    mostImages: 1,
    words: {
      moderated: ['[blocked]', '[blocked-empty]', '[withheld]', '[prohibited]', '[rated]', '[filtered]', '[withheld-drafts]'],
      rateLimited: '[rate-limit]',
      keyRefused: ['[no-quota]', '[no-credit]', '[location]', '[leaked-key]'],
      failed: ['[no-image]', '[overloaded]', '[internal]', '[late]', '[bad-gateway]', '[redirect]', '[error-200]'],
      broken: ['[no-candidates]', '[malformed]', '[truncated]', '[short]', '[reset]'],
      hanging: '[hang]',
      hangingInside: '[hang-body]'
    },
    edits: { images }
  }
}

for (const [name, { adapter, ...under }] of Object.entries(underTest)) {
  providerSuite(name, {
    ...under,
    connect(baseUrl, stack) {
      const client = stack.use(createUpstreamClient({ provider: 'paint', baseUrl, maxConnections: 4 }))
      const create = adapters[adapter]
      if (!create) throw new Error(`there is no adapter ${adapter}`)
      return create({ name: 'paint', baseUrl, headers: { 'x-secret': suiteHeader } }, { client })
    }
  })
}

providerSuite('sketch', {
  connect: () => createSketchProvider({ name: 'paint' }),
  upstreamModel: 'sketch',
  mostImages: 3,
  words: {
    moderated: ['moderation'],
    rateLimited: 'rate_limit',
    keyRefused: [],
    failed: ['provider_error'],
    broken: ['cut_off'],
    hanging: 'delay'
  },
  order: (word) => ({ prompt: 'a fox', providerOptions: word === 'delay' ? { delay_ms: 60_000 } : { fail: word } })
})

test('no adapter is left out', () => {
  const tested = new Set(Object.values(underTest).map(({ adapter }) => adapter))
  expect(Object.keys(adapters).filter((adapter) => !tested.has(adapter))).toEqual([])
})
