// Seed 000, JavaScript example.
import OpenAI from 'openai'

const client = new OpenAI({
  apiKey: process.env.ATELIER_API_KEY,
  baseURL: `${process.env.ATELIER_URL ?? 'http://127.0.0.1:8080'}/v1`
})

const response = await client.images.generate({
  model: 'dall-e-3',
  prompt: 'A cat wearing a space helmet, oil painting',
  size: '1024x1024',
  quality: 'standard',
  n: 1
})
console.log(response.data?.[0]?.url)
