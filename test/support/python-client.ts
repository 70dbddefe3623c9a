import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'vitest'
import { needsFiles, needsPythonModules } from './debian.ts'
import { runCommand } from './run-command.ts'
import { createTemporaryDirectory } from './temporary-directory.ts'

export interface PythonCall {
  /** In protobuf's JSON. */
  request: Record<string, unknown>
  key?: string
  /** Seconds. */
  timeout?: number
  /** Seconds. */
  cancel_after?: number
}

export interface PythonResult {
  answer?: { images: { data?: string; url?: string; media_type?: string; revised_prompt?: string }[]; provider: string; model: string }
  headers?: Record<string, string>
  code?: string
  message?: string
  details?: Record<string, Record<string, unknown>>
}

export interface PythonClient extends AsyncDisposable {
  /** Carries out the calls one after the other. */
  run(server: { url: string; apiKey: string }, calls: readonly PythonCall[]): Promise<PythonResult[]>
}

/** Skips the test where Debian's Python, grpcio or protoc is missing. */
export function needsPython(context: TestContext): void {
  needsFiles(context, {
    '/usr/bin/python3': 'python3',
    '/usr/bin/protoc': 'protobuf-compiler',
    '/usr/bin/grpc_python_plugin': 'protobuf-compiler-grpc'
  })
  needsPythonModules(context, { grpc: 'python3-grpcio', 'google.protobuf': 'python3-protobuf' })
}

/** Generates a Python client from the schema into a directory of its own. */
export async function generatePythonClient(): Promise<PythonClient> {
  const directory = await createTemporaryDirectory()
  const root = join(import.meta.dirname, '../..')
  const schema = join(directory.path, 'schema.binpb')
  // buf brings protobuf's own files, which Debian's protoc lacks without libprotobuf-dev; their Python comes with python3-protobuf.
  await succeed(join(root, 'node_modules/.bin/buf'), ['build', root, '-o', schema])
  const folders = await Promise.all(['proto', 'third_party'].map((folder) => readdir(join(root, folder), { recursive: true })))
  await succeed('/usr/bin/protoc', [
    `--descriptor_set_in=${schema}`,
    `--python_out=${directory.path}`,
    `--grpc_python_out=${directory.path}`,
    '--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin',
    ...folders.flat().filter((file) => file.endsWith('.proto'))
  ])
  return {
    async run({ url, apiKey }, calls) {
      const stdout = await succeed('/usr/bin/python3', [script, new URL(url).host, apiKey], {
        input: JSON.stringify(calls),
        environment: { PYTHONPATH: directory.path, PYTHONDONTWRITEBYTECODE: '1' }
      })
      return JSON.parse(stdout.toString())
    },
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]()
  }
}

const script = join(import.meta.dirname, '../clients/python_client.py')

async function succeed(...command: Parameters<typeof runCommand>): Promise<Buffer> {
  const { code, stdout, stderr } = await runCommand(...command)
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}: ${stderr}`)
  return stdout
}
