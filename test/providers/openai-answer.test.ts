import { expect, test } from 'vitest'
import { fromWire } from '../../src/providers/openai-answer.ts'
import type { UpstreamBody } from '../../src/upstream/client.ts'

const link = '{"url":"https://images.example.com/a.png","revised_prompt":"a cat"}'

test.each([
  ['a link', `{"created":7,"data":[${link}]}`],
  ['links and gaps', `{"data":[1,${link},{"error":{"message":"no"}},${link}],"usage":{"total_tokens":3}}`],
  ['a second member of that name', `{"data":[${link}],"data":[${link},${link}]}`],
  ['an image in it', `{"data":[{"b64_json":"iVBORw0KGgo="},${link}]}`],
  ['more images than were asked for', `{"data":[${Array(6).fill(link)}]}`],
  ['no image', '{"data":[{"url":""}]}'],
  ['an error', '{"error":{"message":"the prompt is no good","code":"bad"}}'],
  ['no object', '[]'],
  ['what breaks off behind an image', `{"data":[${link}`],
  ['what is malformed behind an image', `{"data":[${link}]]}`]
])('reads an answer that came in one piece as it reads one that is still coming: %s', async (_, text) => {
  const bytes = Buffer.from(text)
  const still = await eventsOf({ [Symbol.asyncIterator]: () => chunks(bytes) })
  const whole = await eventsOf({ [Symbol.asyncIterator]: () => chunks(bytes), whole: bytes })
  expect(whole).toEqual(still)
})

async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function eventsOf(body: UpstreamBody): Promise<unknown[]> {
  const events: unknown[] = []
  try {
    for await (const event of fromWire(body, {
      provider: 'openai',
      secrets: [],
      baseUrl: 'https://api.example.com',
      n: 4,
      mediaType: ''
    })) {
      events.push('image' in event && 'read' in event.image ? { ...event, image: 'bytes' } : event)
    }
  } catch (error) {
    events.push(`${error}`)
  }
  return events
}
