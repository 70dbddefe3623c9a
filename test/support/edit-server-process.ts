import { startEditServer } from './edit-server.ts'

/** A process of its own for an edit server, so that its memory can be measured: every file is read once, as base64, and dropped. */
const server = await startEditServer({
  async edit(images) {
    for (const source of images) {
      if (source.kind === 'upload') for await (const _ of source.upload.open().read('base64'));
    }
  }
})
let peakBytes = 0
setInterval(() => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss())
}, 10)
process.on('message', (question) => {
  if (question === 'rest') {
    peakBytes = process.memoryUsage.rss()
    process.send?.({ peakBytes })
  } else {
    process.send?.({ peakBytes, files: server.files().length })
  }
})
process.on('disconnect', async () => {
  await server[Symbol.asyncDispose]()
  process.exit()
})
process.send?.({ url: server.url, apiKey: server.apiKey })
