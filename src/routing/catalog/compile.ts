// Writes gen/catalog.json from the YAML files beside it, once they keep the rules. Run: npm run generate
import { writeFileSync } from 'node:fs'
import { loadCatalog } from '../catalog.ts'
import { builtInDirectory, catalogFilesIn, readCatalogFile } from '../catalog-file.ts'

loadCatalog({ directory: builtInDirectory })
const documents = catalogFilesIn(builtInDirectory).map(readCatalogFile)
writeFileSync(new URL('../../../gen/catalog.json', import.meta.url), `${JSON.stringify(documents, null, 1)}\n`)
