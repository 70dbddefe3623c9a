#!/usr/bin/env -S node --max-semi-space-size=8 --no-memory-reducer
// Plain JavaScript that old versions of Node can read: they cannot even parse the sources in src/.
import { spawn } from 'node:child_process'
import module, { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const neededMajor = 26
/**
 * The flags of the first line. Image bytes wait outside of V8's heap for the next small collection; with the usual 16 MB or more of young
 * generation a full one comes first, and costs as much as the transport itself. The memory reducer would forget, after some seconds without
 * requests, the code compiled for them; memory is given back in src/cli/release-memory.ts instead.
 */
const nodeFlags = ['--max-semi-space-size=8', '--no-memory-reducer']
const require = createRequire(import.meta.url)

if (Number(process.versions.node.split('.')[0]) >= neededMajor) importMain()
else runWithOwnNode()

function importMain() {
  // Halves the start, and saves loading the code that strips types. Beside the sources, where nobody else can leave code; a directory that
  // cannot be written is done without.
  const { directory } = module.enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/atelier', import.meta.url)))
  // Worker threads look here.
  if (directory !== undefined) process.env.NODE_COMPILE_CACHE = directory
  withoutWebSocket(require('node:http'))
  import('../src/main.ts').catch((error) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    fail(`A part of Atelier is missing: ${error.message}\nRun \`npm ci\` in ${projectDirectory()} first.`)
  })
}

/** To import node:http is to read all that it exports, and these would load Node's own undici: 5 MB and 15 ms for what nobody here uses. */
function withoutWebSocket(http) {
  for (const name of ['WebSocket', 'CloseEvent', 'MessageEvent']) Object.defineProperty(http, name, { value: undefined })
}

function runWithOwnNode() {
  const node = findOwnNode()
  if (node === undefined) {
    fail(
      `Atelier needs Node ${neededMajor} or newer, and this is Node ${process.versions.node}.\n` +
        'It brings its own Node for Linux on x64 and arm64 as an optional dependency, which is not installed here.\n' +
        `Either run \`npm ci\` in ${projectDirectory()} without --omit=optional,\n` +
        `or install Node ${neededMajor} or newer (https://nodejs.org) and start Atelier with it.`
    )
    return
  }
  const child = spawn(node, [...nodeFlags, ...process.execArgv, ...process.argv.slice(1)], { stdio: 'inherit' })
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2']
  const forward = (signal) => child.kill(signal)
  for (const signal of signals) process.on(signal, forward)
  child.on('error', (error) => {
    fail(
      `Atelier's own Node (${node}) does not run here: ${error.message}\nInstall Node ${neededMajor} or newer (https://nodejs.org) and start Atelier with it.`
    )
  })
  child.on('exit', (code, signal) => {
    if (signal === null) {
      process.exitCode = code
      return
    }
    for (const forwarded of signals) process.removeListener(forwarded, forward)
    process.kill(process.pid, signal)
  })
}

function findOwnNode() {
  try {
    return require.resolve(`node-${process.platform}-${process.arch}/bin/node`)
  } catch {
    return undefined
  }
}

function projectDirectory() {
  return new URL('..', import.meta.url).pathname
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exitCode = 1
}
