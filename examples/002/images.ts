// Seed 002, JavaScript SDK. The gateway's key goes where the snippet has the provider's: the gateway holds that one. The snippet imports
// the default export, which Node does not find in a CommonJS package.
import { Portkey } from 'portkey-ai'

const client = new Portkey({
  provider: 'openai',
  Authorization: process.env.ATELIER_API_KEY ?? '',
  baseURL: `${process.env.ATELIER_URL ?? 'http://127.0.0.1:8080'}/v1`
})

const response = await client.images.generate({
  prompt: 'A cute baby sea otter wearing a beret',
  model: 'dall-e-3',
  n: 1,
  size: '1024x1024',
  quality: 'hd'
})

console.log(`Image URL: ${response.data?.[0]?.url}`)
console.log(`Revised prompt: ${response.data?.[0]?.revised_prompt}`)
