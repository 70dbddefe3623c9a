import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'
import type { FakeAnswer } from '../support/fake-openai-failures.ts'
import { download, startGateway } from '../support/gateway.ts'
import { halves, withContentCredentials } from '../support/pictures.ts'
import { createTemporaryDirectory } from '../support/temporary-directory.ts'

interface Body {
  data: { url?: string; b64_json?: string }[]
  output_format?: string
  size?: string
  atelier?: { warnings: { kind: string; param: string; message: string }[] }
}

const signed = withContentCredentials(await halves(1024, 1024, 'png'), 'png', 50_000)
const gateway = await startGateway({
  openai: {
    answer: ({ body }) => {
      const prompt = String(body?.prompt)
      if (prompt.includes('[signed]')) return givenImage(signed)
      return prompt.includes('[broken]') ? givenImage(signed.subarray(0, signed.length - 1000)) : undefined
    }
  }
})
afterAll(() => gateway[Symbol.asyncDispose]())

const generations = '/v1/images/generations'
const generate = async (body: Record<string, unknown>, headers: Record<string, string> = {}) => {
  const response = await gateway.post(generations, body, headers)
  return { response, body: (await response.json()) as Body }
}

describe('a file format that the model does not make', () => {
  test('is made of its image, and the link ends in it', async () => {
    const request = { model: 'dall-e-3', prompt: 'a fox as webp' }
    const { response, body } = await generate({ ...request, output_format: 'webp' })
    expect(response.headers.get('x-atelier-warnings')).toMatch(/^output_format=emulated;/)
    expect(body).toMatchObject({ output_format: 'webp', size: '1024x1024' })
    expect(body.data[0]?.url).toMatch(new RegExp(`^${gateway.url}/images/.*\\.webp$`))
    const bytes = await download(body.data[0]?.url)
    expect(await sharp(bytes).metadata()).toMatchObject({ format: 'webp', width: 1024, height: 1024 })
    expect(await difference(bytes, await gateway.upstreamImage(request))).toBeLessThan(3)
    expect(sentFor(request.prompt)).not.toHaveProperty('output_format')
  })

  test('is as compressed as it is asked for', async () => {
    const request = { model: 'dall-e-3', prompt: 'a fox [large]', output_format: 'jpeg', response_format: 'b64_json' }
    const sizes: number[] = []
    for (const output_compression of [10, 90]) {
      const { body } = await generate({ ...request, output_compression })
      const bytes = Buffer.from(body.data[0]?.b64_json ?? '', 'base64')
      expect((await sharp(bytes).metadata()).format).toBe('jpeg')
      sizes.push(bytes.length)
    }
    expect((sizes[0] ?? 0) * 3).toBeLessThan(sizes[1] ?? 0)
  })

  test('is the body of a raw answer', async () => {
    const request = { model: 'dall-e-3', prompt: 'a raw fox', output_format: 'jpeg' }
    const response = await gateway.post(generations, request, { accept: 'image/*' })
    expect(response.headers.get('content-type')).toBe('image/jpeg')
    expect((await sharp(await response.arrayBuffer()).metadata()).format).toBe('jpeg')
  })
})

describe('a file format that the model makes', () => {
  test.each(['png', 'jpeg', 'webp'])('is asked of it, and its %s comes through untouched', async (output_format) => {
    const request = { model: 'gpt-image-1', prompt: `a fox as native ${output_format}`, output_format }
    const { body } = await generate(request)
    expect(body.data[0]?.b64_json).toBe((await gateway.upstreamImage(request)).toString('base64'))
    expect(body.output_format).toBe(output_format)
    expect(sentFor(request.prompt)).toMatchObject({ output_format })
  })

  test('keeps its provenance metadata', async () => {
    const { response, body } = await generate({ model: 'dall-e-3', prompt: 'a fox [signed]', output_format: 'png', response_format: 'url' })
    expect(response.headers.get('x-atelier-warnings')).toBeNull()
    expect((await download(body.data[0]?.url)).equals(signed)).toBe(true)
  })
})

test('provenance metadata that a conversion drops is reported', async () => {
  const { body } = await generate(
    { model: 'dall-e-3', prompt: 'a fox [signed]', output_format: 'webp' },
    { 'x-atelier-include': 'warnings' }
  )
  expect((await download(body.data[0]?.url)).includes('c2pa')).toBe(false)
  expect(body.atelier?.warnings).toEqual([
    { kind: 'emulated', param: 'output_format', message: expect.any(String) },
    { kind: 'converted', param: 'output_format', message: expect.stringContaining('the provenance metadata (C2PA)') }
  ])
})

test.each(['url', 'b64_json'])('a broken image cannot be converted: an error that is not sent again, as %s', async (response_format) => {
  const { response, body } = await generate({ model: 'dall-e-3', prompt: 'a fox [broken]', output_format: 'webp', response_format })
  expect([response.status, response.headers.get('x-should-retry')]).toEqual([500, 'false'])
  expect(body).toMatchObject({
    error: { message: 'the provider openai failed: its image is broken and cannot be converted to webp', code: 'provider_failed' }
  })
})

describe('a retired model with sizes that its successor does not make', () => {
  test.each(['256x256', '512x512'])('gives exactly %s, as link and as base64', async (size) => {
    await using directory = await createTemporaryDirectory()
    const file = join(directory.path, 'atelier.yaml')
    await writeFile(file, 'providers:\n  openai:\n    retired: replace\n')
    await using replacing = await startGateway({ openai: { retired: ['dall-e-2', 'dall-e-3'] }, environment: { ATELIER_CONFIG: file } })
    for (const response_format of ['url', 'b64_json']) {
      const request = { model: 'dall-e-2', prompt: 'a small fox', size, n: 2, response_format }
      const response = await replacing.post(generations, request)
      const body = (await response.json()) as Body
      expect(body.size).toBe(size)
      for (const { url, b64_json } of body.data) {
        const bytes = url ? await download(url) : Buffer.from(b64_json ?? '', 'base64')
        expect(`${(await sharp(bytes).metadata()).width}x${(await sharp(bytes).metadata()).height}`).toBe(size)
      }
      expect(body.data).toHaveLength(2)
      expect(response.headers.get('x-atelier-warnings')).toContain('size=emulated;')
    }
    expect(replacing.openai.requests[0]?.body).toMatchObject({ model: 'gpt-image-2', size: '1024x1024' })
  })
})

/** The request about this prompt as the provider got it. */
function sentFor(prompt: string) {
  return gateway.openai.requests.find(({ body, headers }) => body?.prompt === prompt && !headers['x-direct'])?.body
}

function givenImage(file: Buffer): FakeAnswer {
  const body = JSON.stringify({ created: 1_780_000_000, data: [{ b64_json: file.toString('base64') }] })
  return { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from(body) }
}

/** Mean distance of the pixels of two images of the same size, 0 to 255. */
async function difference(one: Buffer, other: Buffer): Promise<number> {
  const [first, second] = await Promise.all([one, other].map((file) => sharp(file).removeAlpha().raw().toBuffer()))
  if (!first || first.length !== second?.length) return Number.POSITIVE_INFINITY
  return first.reduce((sum, value, at) => sum + Math.abs(value - (second[at] ?? 0)), 0) / first.length
}
