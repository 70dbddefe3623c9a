// Seed 001, handling revised prompts.
import { createImage } from './create-image.ts'

const response = await createImage({
  model: 'dall-e-3',
  prompt: 'A cat'
})

console.log('Original:', 'A cat')
console.log('Revised:', response.data[0]?.revised_prompt)
