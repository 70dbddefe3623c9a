import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { Report } from '../bench/report.ts'
import { runProgram } from './support/run-atelier.ts'
import { createTemporaryDirectory } from './support/temporary-directory.ts'

const run = fileURLToPath(new URL('../bench/run.ts', import.meta.url))
const compare = fileURLToPath(new URL('../bench/compare.ts', import.meta.url))

test('measures this gateway, without and with tasks, beside a bare proxy, and every image comes through whole', {
  timeout: 60_000
}, async () => {
  await using directory = await createTemporaryDirectory()
  const out = join(directory.path, 'result.json')
  const { code, stdout, stderr } = await runProgram(
    ['--quick', '--scenario', 'image', '--target', 'bare', '--target', 'atelier', '--target', 'atelier-tasks', '--out', out],
    { script: run, directory: directory.path }
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('image atelier 1/1') })
  expect(stdout).toMatch(/^\| target +\| +req\/s \| +p50 ms \| +p99 ms \| +CPU ms\/req \| .*\| +errors \|$/m)
  expect(stdout).toMatch(/^\| CPU of a 2\.2 MB answer, to bare .*\| at most 1\.3 \|/m)
  expect(stdout).toMatch(/^\| tasks on: CPU of a 2\.2 MB answer, to bare .*\| at most 1\.8 \|/m)

  const { measurements }: Report = JSON.parse(await readFile(out, 'utf8'))
  expect(measurements.map(({ target, errors }) => ({ target, errors }))).toEqual([
    { target: 'bare', errors: 0 },
    { target: 'atelier', errors: 0 },
    { target: 'atelier-tasks', errors: 0 }
  ])
  for (const { requests, verified } of measurements) {
    expect(requests).toBeGreaterThan(0)
    expect(verified).toBeGreaterThan(0)
  }
})

test('measures this gateway with budgets and limits on, embedded and on PostgreSQL', { timeout: 120_000 }, async () => {
  await using directory = await createTemporaryDirectory()
  const out = join(directory.path, 'result.json')
  const wanted = [
    '--scenario',
    'guarded',
    '--scenario',
    'postgres',
    '--target',
    'bare',
    '--target',
    'atelier-guarded',
    '--target',
    'atelier-postgres'
  ]
  const { code, stdout } = await runProgram(['--quick', ...wanted, '--out', out], { script: run, directory: directory.path })
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^\| on PostgreSQL: requests per second with everything on .*\| at least 1000 \|/m)
  })
  expect(stdout).toMatch(/^\| budgets and limits on: CPU of a 256 B answer, to bare .*\| +at most 5 \|/m)
  const { measurements }: Report = JSON.parse(await readFile(out, 'utf8'))
  expect(measurements.map(({ scenario, target, errors }) => [scenario, target, errors])).toEqual([
    ['guarded', 'bare', 0],
    ['guarded', 'atelier-guarded', 0],
    ['postgres', 'atelier-postgres', 0]
  ])
})

test('finds what has become worse between two results', async () => {
  await using directory = await createTemporaryDirectory()
  const [before, after] = [join(directory.path, 'before.json'), join(directory.path, 'after.json')]
  await writeFile(before, result({ bare: 2, atelier: 2.4, 'atelier-tasks': 3 }))
  await writeFile(after, result({ bare: 1, atelier: 1.8, 'atelier-tasks': 1.6 }))
  const worse = await runProgram([before, after], { script: compare, directory: directory.path })
  const allowed = await runProgram([before, after, '--threshold', '1.6'], { script: compare, directory: directory.path })
  expect(worse).toEqual({
    code: 1,
    stdout: expect.stringMatching(/image CPU per request, to bare +1\.20 -> +1\.80 +x1\.50 +WORSE/),
    stderr: ''
  })
  expect(worse.stdout).toMatch(/image, tasks on, CPU per request, to bare +1\.50 -> +1\.60 +x1\.07$/m)
  expect(allowed.code).toBe(0)
})

function result(cpu: Record<string, number>): string {
  const measurements = Object.entries(cpu).map(([target, cpuMsPerRequest]) => ({ scenario: 'image', target, cpuMsPerRequest }))
  return JSON.stringify({ measurements })
}
