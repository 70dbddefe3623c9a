import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A catalog of two models of the provider `basement`: `dime`, of which an image costs $0.10, and `priceless`, of which nobody knows the price. */
export async function writeDimeCatalog(directory: string): Promise<string> {
  const file = join(directory, 'dime.yaml')
  await writeFile(file, catalog)
  return file
}

/** The provider's entry among the settings. */
export function basementAt(baseUrl: string) {
  return { name: 'basement', adapter: 'openai', baseUrl, apiKey: '', models: [], headers: {}, maxConnections: 64 }
}

const catalog = `
vendor: basement
adapters: [openai]
models:
  - name: dime
    status: live
    capabilities: &square { size: { list: { sizes: ["512x512"] } }, max_images_per_call: 1, delivery_form: base64 }
    pricing: { lines: [{ unit: image, micros: 100000 }], source: ours, checked: 2026-11-20 }
    source: ours
    checked: 2026-11-20
  - name: priceless
    status: live
    capabilities: *square
    source: ours
    checked: 2026-11-20
`
