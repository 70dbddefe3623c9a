// Seed 001, using base64 for immediate use.
import { createImage } from './create-image.ts'

const response = await createImage({
  model: 'dall-e-3',
  prompt: 'Company logo',
  response_format: 'b64_json'
})

const base64 = response.data[0]?.b64_json
const dataUrl = `data:image/png;base64,${base64}`
console.log(`<img src="${dataUrl.slice(0, 60)}…">`)
