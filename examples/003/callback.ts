// Seed 003, asynchronous callback. receiver.ts takes it: its address must stand in `egress.allow` as "127.0.0.1:3000".
const response = await fetch(`${process.env.ATELIER_URL ?? 'http://127.0.0.1:8080'}/v1/openai/images/generations`, {
  method: 'POST',
  headers: {
    accept: 'application/json',
    authorization: `Bearer ${process.env.ATELIER_API_KEY}`,
    'content-type': 'application/json'
  },
  body: JSON.stringify({
    model: 'dall-e-3',
    prompt: 'A cute baby sea otter',
    callback_url: process.env.CALLBACK_URL ?? 'http://127.0.0.1:3000/'
  })
})
console.log(await response.text())
