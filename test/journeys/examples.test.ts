import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import { broughtKey, startOpenToKeys } from '../support/brought-keys.ts'
import { needsFiles } from '../support/debian.ts'
import { download, startGateway } from '../support/gateway.ts'
import { runCommand } from '../support/run-command.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

const examples = join(import.meta.dirname, '../../examples')
const pythonPackages = join(import.meta.dirname, '../support/python-packages')
const gateway = await startGateway()
const open = await startOpenToKeys({ ATELIER_ALLOW_REQUEST_CREDENTIALS: 'true', ATELIER_ALLOW_PROVIDER_KEY_ONLY: 'true' })
const directory = await createTemporaryDirectory()
afterAll(async () => {
  await gateway[Symbol.asyncDispose]()
  await open[Symbol.asyncDispose]()
  await directory[Symbol.asyncDispose]()
})
interface Expected {
  /** What the provider is asked for, as the snippet says it. */
  asked: Record<string, unknown>
  images?: number
  size?: [number, number]
  form?: 'url' | 'b64_json'
}

const otter = 'A cute baby sea otter wearing a beret'

/** Snippets in curl: they print the answer. */
const curlExamples: Record<string, Expected> = {
  '000/quick-start.sh': {
    asked: { model: 'dall-e-3', prompt: 'A futuristic city skyline at sunset, digital art style', n: 1, size: '1024x1024' }
  },
  '001/basic.sh': {
    asked: { model: 'dall-e-3', prompt: 'A cute baby sea otter wearing a tiny chef hat, preparing sushi', n: 1, size: '1024x1024' }
  },
  '001/high-quality-landscape.sh': {
    asked: {
      model: 'dall-e-3',
      prompt: 'A futuristic cyberpunk cityscape at night with neon lights reflecting off rain-slicked streets',
      quality: 'hd',
      size: '1792x1024',
      style: 'vivid'
    },
    size: [1792, 1024]
  },
  '001/natural-style-portrait.sh': {
    asked: {
      model: 'dall-e-3',
      prompt: 'Professional portrait photograph of a senior software engineer in a modern office',
      size: '1024x1792',
      style: 'natural',
      quality: 'hd'
    },
    size: [1024, 1792]
  },
  '001/multiple-images.sh': {
    asked: { model: 'dall-e-2', prompt: 'Minimalist logo design for a tech startup', n: 4, size: '512x512' },
    images: 4,
    size: [512, 512]
  },
  '001/base64-response-format.sh': {
    asked: { model: 'dall-e-3', prompt: 'Abstract geometric pattern in blue and gold', response_format: 'b64_json', size: '1024x1024' },
    form: 'b64_json'
  },
  '001/provider-openai.sh': { asked: { model: 'dall-e-3', prompt: 'A magical forest with glowing mushrooms' } },
  '002/basic.sh': { asked: { prompt: otter, model: 'dall-e-3', n: 1, size: '1024x1024' } },
  '002/multiple-images.sh': {
    asked: { prompt: 'A futuristic cityscape at sunset', model: 'dall-e-2', n: 4, size: '512x512' },
    images: 4,
    size: [512, 512]
  },
  '002/hd-natural-style.sh': {
    asked: {
      prompt: 'A professional photograph of a coffee cup on a wooden table',
      model: 'dall-e-3',
      size: '1024x1024',
      quality: 'hd',
      style: 'natural'
    }
  },
  '004/request.sh': {
    asked: {
      model: 'dall-e-3',
      prompt: 'A cat wearing a spacesuit walking on the moon with Earth in the background',
      n: 1,
      size: '1024x1024',
      quality: 'hd',
      style: 'vivid'
    }
  }
}

/** Programs: they print what the snippet prints; `{url}` stands for a link that leads to a PNG. */
const programs: Record<string, { asked: Record<string, unknown>; prints: RegExp; writes?: string }> = {
  '000/images.ts': {
    asked: { model: 'dall-e-3', prompt: 'A cat wearing a space helmet, oil painting', size: '1024x1024', quality: 'standard', n: 1 },
    prints: /^(?<url>http\S+)\n$/
  },
  '000/images.py': {
    asked: { model: 'dall-e-3', prompt: 'A cat wearing a space helmet, oil painting', size: '1024x1024', quality: 'standard', n: 1 },
    prints: /^(?<url>http\S+)\n$/
  },
  '001/data-url.ts': {
    asked: { model: 'dall-e-3', prompt: 'Company logo', response_format: 'b64_json' },
    prints: /^<img src="data:image\/png;base64,iVBORw0KGgo\S+">\n$/
  },
  '001/download.ts': {
    asked: { model: 'dall-e-3', prompt: 'A golden retriever puppy playing in autumn leaves' },
    prints: /^\d+ bytes saved as puppy\.png\n$/,
    writes: 'puppy.png'
  },
  '001/revised-prompts.ts': {
    asked: { model: 'dall-e-3', prompt: 'A cat' },
    prints: /^Original: A cat\nRevised: A detailed, high-quality image of the following: A cat\n$/
  },
  '002/images.ts': {
    asked: { prompt: otter, model: 'dall-e-3', n: 1, size: '1024x1024', quality: 'hd' },
    prints: /^Image URL: (?<url>http\S+)\nRevised prompt: A detailed.* wearing a beret\n$/
  },
  '002/images.py': {
    asked: { prompt: otter, model: 'dall-e-3', n: 1, size: '1024x1024', quality: 'hd' },
    prints: /^Image URL: (?<url>http\S+)\nRevised prompt: A detailed.* wearing a beret\n$/
  },
  '002/base64-response-format.py': {
    asked: { prompt: 'A magical forest with glowing mushrooms', model: 'dall-e-3', response_format: 'b64_json' },
    prints: /^$/,
    writes: 'image.png'
  },
  '002/download.py': {
    asked: { prompt: 'A serene mountain landscape', model: 'dall-e-3' },
    prints: /^Image saved as generated_image\.png\n$/,
    writes: 'generated_image.png'
  },
  '002/landscape.py': {
    asked: { prompt: 'A panoramic view of the Grand Canyon at sunrise', model: 'dall-e-3', size: '1792x1024', quality: 'hd' },
    prints: /^(?<url>http\S+)\n$/
  },
  '002/portrait.py': {
    asked: { prompt: 'A portrait of a wise old wizard', model: 'dall-e-3', size: '1024x1792', quality: 'hd' },
    prints: /^(?<url>http\S+)\n$/
  }
}

describe.each(Object.entries(curlExamples))('%s', (file, { asked, images = 1, size = [1024, 1024], form = 'url' }) => {
  test('asks for what the snippet asks, and gets it', async (context) => {
    needsFiles(context, { '/usr/bin/curl': 'curl' })
    const { code, stdout, stderr } = await run('bash', [join(examples, file)])
    expect([code, stderr]).toEqual([0, ''])
    expect(lastAsked()).toEqual({ response_format: form, n: images, ...asked })
    const { created, data } = JSON.parse(stdout.toString())
    expect([Number.isInteger(created), data.length]).toEqual([true, images])
    for (const image of data) {
      expect(Object.keys(image)).toEqual(asked.model === 'dall-e-3' ? [form, 'revised_prompt'] : [form])
      const { width, height, format } = await sharp(
        image.url ? await download(image.url) : Buffer.from(image.b64_json, 'base64')
      ).metadata()
      expect([width, height, format]).toEqual([...size, 'png'])
    }
  })
})

test('001/provider-stability.sh gets the documented error while no provider is configured for it', async (context) => {
  needsFiles(context, { '/usr/bin/curl': 'curl' })
  const { code, stdout } = await run('bash', [join(examples, '001/provider-stability.sh')])
  expect([code, JSON.parse(stdout.toString())]).toEqual([
    22,
    {
      error: {
        message: 'no stability API key is configured, so stability/stable-diffusion-xl-1024-v1-0 cannot be served',
        type: 'provider_error',
        param: null,
        code: 'provider_key_missing'
      }
    }
  ])
})

describe.each(Object.entries(programs))('%s', (file, { asked, prints, writes }) => {
  test('asks for what the snippet asks, and prints and writes what it should', async (context) => {
    const isPython = file.endsWith('.py')
    if (isPython) needsFiles(context, { '/usr/bin/python3': 'python3' })
    const { code, stdout, stderr } = await (isPython
      ? run('/usr/bin/python3', [join(examples, file)], { PYTHONPATH: pythonPackages, PYTHONDONTWRITEBYTECODE: '1' })
      : run(process.execPath, [join(examples, file), ...(writes === undefined ? [] : [writes])]))
    expect([code, stderr]).toEqual([0, ''])
    const { response_format, n, ...received } = lastAsked()
    expect({ response_format, n, ...received }).toEqual({ response_format: 'url', n: 1, ...asked })
    expect(stdout.toString()).toMatch(prints)
    const url = prints.exec(stdout.toString())?.groups?.url
    if (url !== undefined) expect((await sharp(await download(url)).metadata()).format).toBe('png')
    if (writes !== undefined) expect((await sharp(await readFile(join(directory.path, writes))).metadata()).format).toBe('png')
  })
})

describe('the snippets of Portkey’s documentation, which hold a key for the provider', () => {
  const files = [...Object.keys(curlExamples), ...Object.keys(programs)].filter((file) => file.startsWith('002/'))

  test.each(files)('%s runs with that key and no other, where the operator allows it', async (file) => {
    const isPython = file.endsWith('.py')
    const command = file.endsWith('.sh') ? 'bash' : isPython ? '/usr/bin/python3' : process.execPath
    const environment = {
      ATELIER_URL: open.url,
      ATELIER_API_KEY: broughtKey,
      ...(isPython && { PYTHONPATH: pythonPackages, PYTHONDONTWRITEBYTECODE: '1' })
    }
    const calls = open.openai.requests.length
    const { code, stderr } = await run(command, [join(examples, file)], environment)
    expect([code, stderr, open.lastKey()]).toEqual([0, '', broughtKey])
    expect(open.openai.requests.length).toBeGreaterThan(calls)
  })
})

test('every example is one of these', async () => {
  const files = await readdir(examples, { recursive: true })
  const found = files.filter((file) => /^\d{3}\/.*\.(sh|ts|py)$/.test(file)).sort()
  // What other snippets import.
  const library = '001/create-image.ts'
  const elsewhere = found.filter((file) => file.startsWith('003/'))
  expect(found).toEqual([...Object.keys(curlExamples), ...Object.keys(programs), '001/provider-stability.sh', library, ...elsewhere].sort())
})

function run(command: string, args: readonly string[], environment: Record<string, string> = {}) {
  return runCommand(command, args, {
    directory: directory.path,
    environment: { ATELIER_URL: gateway.url, ATELIER_API_KEY: gateway.apiKey, ...environment }
  })
}

/** The body of the latest request that the provider got for an image. */
function lastAsked(): Record<string, unknown> {
  return gateway.openai.requests.findLast(({ method }) => method === 'POST')?.body ?? {}
}
