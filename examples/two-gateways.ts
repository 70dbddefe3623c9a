import { parseArgs } from 'node:util'
import { type ClusterGateway, type GatewayCluster, startGatewayCluster } from '../test/support/gateway-cluster.ts'
import { sendDuplicates } from '../test/support/send-duplicates.ts'

/** Shows two gateways that share the work on one PostgreSQL database and one S3 bucket, all of it on this machine and removed afterwards. */
const { values } = parseArgs({ options: { keys: { type: 'string', default: '20' } } })
const say = (line: string) => console.log(line)

say('Starting PostgreSQL, an S3 service, an upstream that makes images, and two gateways …')
const cluster = await start()
try {
  await showWork(cluster)
} finally {
  await cluster[Symbol.asyncDispose]()
}
say('\nEverything has been stopped and removed.')

async function showWork({ upstream, start }: GatewayCluster): Promise<void> {
  const [first, second] = [await start(), await start()]
  say(`  gateway-1 listens on ${first.url}, gateway-2 on ${second.url}; each works on 4 tasks at a time.`)
  const report = async (prompts: string[], ids: string[]) => {
    for (const [position, id] of ids.entries()) {
      const { status, error } = await second.task(id)
      say(`  ${prompts[position]?.padEnd(8)} ${status.padEnd(12)} ${servedBy(prompts[position])}${error ? `: ${error.message}` : ''}`)
    }
  }
  const servedBy = (prompt = '') => upstream.askedBy.get(prompt) ?? 'by nobody'

  say('\nGateway 1 accepts ten tasks, and both carry them out:')
  const shared = numbered('shared')
  const sharedIds = await submitAll(first, shared)
  await report(shared, sharedIds)
  const links = await Promise.all(sharedIds.map(async (id) => (await second.task(id)).result?.data[0]?.url ?? ''))
  const downloads = await Promise.all(links.map((link) => fetch(second.url + new URL(link).pathname)))
  say(`  Gateway 2 serves ${downloads.filter(({ ok }) => ok).length} of the 10 images.`)

  say('\nGateway 1 accepts ten more, of which the upstream answers none yet:')
  const held = numbered('held')
  const heldIds = await submitAll(first, held)
  await upstream.arrived('held', 8)
  for (const prompt of held) say(`  ${prompt.padEnd(8)} ${upstream.calls.has(prompt) ? `running      ${servedBy(prompt)}` : 'queued'}`)

  say('\nGateway 1 is killed (SIGKILL), then the upstream answers. What gateway 1 had sent may be billed, so it is not sent again:')
  await first.kill()
  for (const prompt of held) upstream.release(prompt)
  await report(held, heldIds)
  say(`  The upstream was asked ${total(upstream.calls)} times for 20 images.`)

  say(`\nA third gateway joins, and ${values.keys} requests are sent to both, each 20 times at once under an Idempotency-Key:`)
  const third = await start()
  const begunAt = performance.now()
  const sent = await sendDuplicates([second, third], { keys: Number(values.keys), duplicates: 20, keysAtATime: 20 })
  const seconds = ((performance.now() - begunAt) / 1000).toFixed(1)
  const answers = Object.entries(sent.answers).map(([status, count]) => `${count} times ${status}`)
  say(`  ${answers.join(', ')} in ${seconds} s; the upstream was asked ${total(upstream.calls) - 20} times.`)
}

async function start(): Promise<GatewayCluster> {
  try {
    return await startGatewayCluster({ upstreamDelayMs: 200 })
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const advice = message.includes('s3rver')
      ? 'the S3 service comes with the clients for tests: npm run install:clients'
      : 'it needs the programs of a PostgreSQL server (initdb, postgres) on this machine, such as the package postgresql of Debian and Ubuntu'
    console.error(`This cannot be shown here: ${message.split('\n')[0]}\n${advice}`)
    process.exit(1)
  }
}

function numbered(name: string): string[] {
  return Array.from({ length: 10 }, (_, position) => `${name} ${position + 1}`)
}

function submitAll(gateway: ClusterGateway, prompts: readonly string[]): Promise<string[]> {
  return Promise.all(prompts.map((prompt) => gateway.submit(prompt)))
}

function total(calls: ReadonlyMap<string, number>): number {
  return calls.values().reduce((sum, count) => sum + count, 0)
}
