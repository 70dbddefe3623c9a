import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import type { JsonObject } from '@bufbuild/protobuf'
import { type Catalog, type CatalogModel, CatalogSchema } from '../../gen/atelier/v1/catalog_pb.ts'
import { decodeMessage } from '../contract/json.ts'
import { violationsOf } from '../contract/validator.ts'
import { catalogFilesIn, readCatalogFile } from './catalog-file.ts'

export interface CatalogOptions {
  /** Where to find YAML files that take the place of the built-in ones. */
  directory?: string
  /** The operator's own files, in order: what they say goes before what was said before them. */
  files?: readonly string[]
}

/**
 * Reads what is known about models: what is built in, one vendor each, then the operator's files. Throws an Error that names file, place
 * and problem where a file is wrong, or where two models claim one name. What is built in is neither read from YAML nor checked, which
 * would take longer than everything else here: `npm run generate` and a test have done it.
 */
export function loadCatalog({ directory, files = [] }: CatalogOptions = {}): Catalog[] {
  const catalogs = directory === undefined ? builtInCatalogs() : []
  for (const path of [...(directory === undefined ? [] : catalogFilesIn(directory)), ...files]) {
    inFile(path, () => {
      const catalog = decodeCatalog(readCatalogFile(path))
      checkRules(catalog)
      addTo(catalogs, catalog)
      const owners = new Map<string, string>()
      for (const catalog of catalogs) {
        checkReplacements(catalog)
        claimNames(catalog, owners)
      }
    })
  }
  return catalogs
}

function builtInCatalogs(): Catalog[] {
  const documents: JsonObject[] = JSON.parse(readFileSync(new URL('../../gen/catalog.json', import.meta.url), 'utf8'))
  return documents.map(decodeCatalog)
}

/** A vendor that is there already gets the new models, in the place of those of the same names. */
function addTo(catalogs: Catalog[], added: Catalog): void {
  const known = catalogs.find(({ vendor }) => vendor === added.vendor)
  if (!known) {
    catalogs.push(added)
    return
  }
  known.vendorAliases = [...new Set([...known.vendorAliases, ...added.vendorAliases])]
  known.adapters = [...new Set([...known.adapters, ...added.adapters])]
  for (const model of added.models) {
    const index = known.models.findIndex(({ name }) => name === model.name)
    if (index < 0) known.models.push(model)
    else known.models[index] = model
  }
}

/** Every name that reaches a model of the catalog: its own, its aliases, its snapshots. */
export function namesOf(model: CatalogModel): string[] {
  return [model.name, ...model.aliases, ...model.snapshots]
}

function inFile(path: string, read: () => void): void {
  try {
    read()
  } catch (error) {
    throw new Error(`${basename(path)}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

function decodeCatalog(document: JsonObject): Catalog {
  const { message, unknown } = decodeMessage(CatalogSchema, document)
  const stranger = Object.keys(unknown)[0]
  if (stranger !== undefined) throw new Error(`${stranger}: is not known here`)
  return message
}

function checkRules(catalog: Catalog): void {
  const violations = violationsOf(CatalogSchema, catalog)
  if (violations.length > 0) throw new Error(violations.join('; '))
}

function checkReplacements({ models }: Catalog): void {
  for (const [index, { replacement }] of models.entries()) {
    if (replacement === '' || models.some(({ name }) => name === replacement)) continue
    throw new Error(`models[${index}].replacement: there is no model ${replacement} of this vendor`)
  }
}

function claimNames({ vendor, vendorAliases, models }: Catalog, owners: Map<string, string>): void {
  const claim = (name: string, owner: string, place: string) => {
    const other = owners.get(name)
    if (other !== undefined) throw new Error(`${place}: ${name} is a name of ${other} already`)
    owners.set(name, owner)
  }
  // The trailing slash keeps vendors, which stand before one in `vendor/model`, apart from models.
  for (const name of [vendor, ...vendorAliases]) claim(`${name}/`, `${vendor}/`, 'vendor')
  for (const [index, model] of models.entries()) {
    for (const name of namesOf(model)) claim(name, `${vendor}/${model.name}`, `models[${index}]`)
  }
}
