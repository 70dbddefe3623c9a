import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ErrorReason } from '../gen/atelier/v1/error_pb.ts'
import { errorTable } from '../src/errors.ts'

test('every reason of the schema stands in the error table, and the other way round', () => {
  const reasons = Object.keys(ErrorReason).filter((name) => name !== 'UNSPECIFIED')
  expect(Object.keys(errorTable).sort()).toEqual(reasons.sort())
})

test('docs/errors.md tells of every reason', () => {
  const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')
  expect(Object.keys(errorTable).filter((reason) => !page.includes(`| \`${reason}\` |`))).toEqual([])
})
