import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { atelierTargets } from './atelier-targets.ts'
import { freePort, type RunningProcess, runProcess } from './run-process.ts'

/** A server between the load and the fake upstream. */
export interface Target {
  name: TargetName
  /** What it is, for the report: version, and what is switched on. */
  describe(): string
  /** Why it cannot be measured here; undefined where it can. May install it. */
  unavailable(): string | undefined
  start(options: StartOptions): Promise<RunningTarget>
}

export type TargetName = 'atelier' | 'atelier-tasks' | 'atelier-guarded' | 'atelier-postgres' | 'bare' | 'nginx' | 'portkey'

export interface StartOptions {
  /** What `/images/generations` is appended to. */
  upstreamUrl: string
  /** The same for `taskModel`, which this gateway then knows. */
  taskUpstreamUrl?: string
  /** An empty directory of its own. */
  directory: string
  /** Where this gateway leaves CPU profiles of itself; none where unset. */
  profileDirectory?: string
}

export interface RunningTarget extends RunningProcess {
  url: string
  headers: Record<string, string>
}

const here = import.meta.dirname
const upstreamKey = 'sk-upstream-0123456789'
const route = '/images/generations'

const bare: Target = {
  name: 'bare',
  describe: () => 'bare Node proxy: node:http in, undici out, nothing parsed, nothing logged',
  unavailable: () => undefined,
  async start({ upstreamUrl, directory }) {
    const port = await freePort()
    const running = await runProcess({
      command: process.execPath,
      args: [join(here, 'bare-proxy.js'), String(port), upstreamUrl],
      port,
      logFile: join(directory, 'log')
    })
    return { ...running, url: `http://127.0.0.1:${port}${route}`, headers: { authorization: `Bearer ${upstreamKey}` } }
  }
}

const nginx: Target = {
  name: 'nginx',
  describe: () =>
    `${execFileSync(nginxPath() ?? '', ['-v', '-e', 'stderr'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim() || 'nginx'}: proxy_pass with kept connections, buffers in memory, no log`,
  unavailable: () => (nginxPath() === undefined ? 'nginx is not installed' : undefined),
  async start({ upstreamUrl, directory }) {
    const port = await freePort()
    const config = join(directory, 'nginx.conf')
    await writeFile(config, nginxConfig(port, new URL(upstreamUrl), directory))
    const running = await runProcess({
      command: nginxPath() ?? '',
      args: ['-p', directory, '-c', config, '-e', join(directory, 'log')],
      port,
      logFile: join(directory, 'log')
    })
    return { ...running, url: `http://127.0.0.1:${port}${route}`, headers: { authorization: `Bearer ${upstreamKey}` } }
  }
}

const portkey: Target = {
  name: 'portkey',
  describe: () => "Portkey's gateway 1.15.2 on the same Node, headless",
  unavailable: () => installPeers(),
  async start({ upstreamUrl, directory }) {
    const port = await freePort()
    const running = await runProcess({
      command: process.execPath,
      args: [portkeyPath, `--port=${port}`, '--headless'],
      port,
      logFile: join(directory, 'log')
    })
    const headers = {
      authorization: `Bearer ${upstreamKey}`,
      'x-portkey-provider': 'openai',
      'x-portkey-custom-host': upstreamUrl
    }
    return { ...running, url: `http://127.0.0.1:${port}/v1${route}`, headers }
  }
}

/** In the order in which they are measured and shown. */
export const targets: readonly Target[] = [nginx, bare, ...atelierTargets, portkey]

const portkeyPath = join(here, 'peers/node_modules/@portkey-ai/gateway/build/start-server.js')

function installPeers(): string | undefined {
  if (existsSync(portkeyPath)) return undefined
  process.stderr.write('installing the gateways to compare with (bench/peers)\n')
  try {
    execFileSync('npm', ['ci', '--prefix', join(here, 'peers'), '--ignore-scripts', '--no-audit', '--no-fund'], { stdio: 'ignore' })
    return undefined
  } catch {
    return '`npm ci --prefix bench/peers` fails here'
  }
}

function nginxPath(): string | undefined {
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin']
  return directories.map((directory) => join(directory, 'nginx')).find((path) => existsSync(path))
}

/** Buffers that hold a whole answer of 2.2 MB, so that nothing goes through a file. */
function nginxConfig(port: number, upstream: URL, directory: string): string {
  return `daemon off;
worker_processes 1;
pid ${directory}/pid;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  keepalive_requests 1000000;
  upstream provider { server ${upstream.host}; keepalive 1024; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      proxy_pass http://provider${upstream.pathname}/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffers 64 64k;
      proxy_buffer_size 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
      proxy_read_timeout 600s;
    }
  }
}
`
}
