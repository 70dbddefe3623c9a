import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ErrorReason } from '../gen/atelier/v1/error_pb.ts'
import { errorTable } from '../src/errors.ts'
import { loadCatalog } from '../src/routing/catalog.ts'
import { adapters } from '../src/server/adapters.ts'

test('every reason of the schema stands in the error table, and the other way round', () => {
  const reasons = Object.keys(ErrorReason).filter((name) => name !== 'UNSPECIFIED')
  expect(Object.keys(errorTable).sort()).toEqual(reasons.sort())
})

test('docs/errors.md tells of every reason', () => {
  const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')
  expect(Object.keys(errorTable).filter((reason) => !page.includes(`| \`${reason}\` |`))).toEqual([])
})

test('docs/providers.md tells of every adapter and every model', () => {
  const page = readFileSync(new URL('../docs/providers.md', import.meta.url), 'utf8')
  const names = [...Object.keys(adapters), ...loadCatalog().flatMap(({ models }) => models.map((model) => model.name))]
  expect(names.filter((name) => !page.includes(`| \`${name}\``))).toEqual([])
})
