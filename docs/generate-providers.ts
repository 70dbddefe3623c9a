// Writes docs/providers.md from the catalog and the adapters. Run: npm run generate
import { writeFileSync } from 'node:fs'
import type { Catalog, CatalogModel, Pricing } from '../gen/atelier/v1/catalog_pb.ts'
import {
  BackgroundSchema,
  OutputFormatSchema,
  PriceUnit,
  QualitySchema,
  ResolutionSchema,
  StyleSchema
} from '../gen/atelier/v1/image_pb.ts'
import { ModelStatusSchema, type SizeRule } from '../gen/atelier/v1/model_pb.ts'
import { wireName } from '../src/contract/wire-names.ts'
import type { Provider } from '../src/providers/provider.ts'
import { createSketchProvider } from '../src/providers/sketch.ts'
import { loadCatalog } from '../src/routing/catalog.ts'
import { describeSizes } from '../src/routing/size.ts'
import { adapters } from '../src/server/adapters.ts'
import { createUpstreamClient } from '../src/upstream/client.ts'

/** Adapters that were run against their vendor itself, not only against its documentation and a fake made after that. */
const runAgainstVendor: readonly string[] = []

const catalogs = loadCatalog()

writeFileSync(
  new URL('./providers.md', import.meta.url),
  `<!-- Written by docs/generate-providers.ts from src/routing/catalog and src/server/adapters.ts. -->
# What works where

Adapters speak the vendors' wire formats; the catalog knows the models. **Documented, not yet run against the vendor** means that an adapter
was built after the vendor's documentation or its own clients and is tested against a fake made after the same, not against the vendor.

| adapter | address | models | recovery | \`provider_options\` | state |
|---|---|---|---|---|---|
${[...Object.keys(adapters).map(remoteAdapter), adapterRow('sketch', createSketchProvider({ name: 'sketch' }), 'built in', 'runs in the tests')].join('\n')}

*Recovery* is what can be done about a call whose answer was lost: \`idempotent\`, it can be made again; \`resumable\`, its job can be asked for;
\`opaque\`, nothing: it may have been made and billed, and is never sent again by itself.

Whatever a table says, every model takes \`n\` up to 10 (by several calls, unless its vendor documents that more are refused), both forms of
\`response_format\`, and \`output_format\` png, jpeg and webp: what a model does not make itself is converted here. Sizes, ratios and tiers are
translated into what the model makes. Everything that is ignored or changed on the way is a warning, and an error under \`strict\`.

In the tables *formats* are those that the vendor makes itself, *n* the images of one call to it, *previews* partial images while it draws.
A price that is not known is not zero. Prices are the vendor's list; costs at Azure, and at other servers of OpenAI's shape, are figured with
OpenAI's, although these may charge otherwise.
${catalogs.map(vendorSection).join('')}`
)

function remoteAdapter(name: string): string {
  const create = adapters[name]
  const vendor = catalogs.find((catalog) => catalog.vendor === name)
  const baseUrl = vendor?.baseUrl ?? 'https://my-resource.openai.azure.com'
  if (!create) throw new Error(`there is no adapter ${name}`)
  const provider = create({ name, baseUrl, headers: {} }, { client: createUpstreamClient({ provider: name, baseUrl, maxConnections: 1 }) })
  const address = vendor ? `\`${baseUrl}\`` : `e.g. \`${baseUrl}\``
  const state = runAgainstVendor.includes(name) ? 'run against the vendor' : 'documented, not yet run against the vendor'
  return adapterRow(name, provider, name === 'openai' ? `${address}, or any server of the same shape` : address, state)
}

function adapterRow(name: string, provider: Provider, address: string, state: string): string {
  const vendor = catalogs.find((catalog) => catalog.vendor === name || catalog.adapters.includes(name))
  return row([`\`${name}\``, address, vendor?.vendor ?? 'none', provider.recovery, optionsOf(provider, vendor), state])
}

function optionsOf({ understands }: Provider, vendor: Catalog | undefined): string {
  if (understands === 'any option') return 'any: they are passed on'
  const upstreamModels = (vendor?.models ?? []).map((model) => model.upstreamModel || model.name)
  const options = typeof understands === 'function' ? upstreamModels.flatMap((model) => understands(model)) : understands
  return listed([...new Set(options)].sort().map((option) => `\`${option}\``))
}

function vendorSection({ vendor, models }: Catalog): string {
  const columns = [
    'model',
    'status',
    'sizes',
    'qualities',
    'styles',
    'backgrounds',
    'formats',
    'n',
    'prompt',
    'seed',
    'negative prompt',
    'previews'
  ]
  return `
## ${vendor}

${row([...columns, 'price'])}
${row([...columns, 'price'].map(() => '---')).replaceAll(' ', '')}
${models.map(modelRow).join('\n')}
`
}

function modelRow(model: CatalogModel): string {
  const can = model.capabilities
  if (!can) throw new Error(`${model.name} has no capabilities`)
  const further = [...model.aliases, ...model.snapshots].map((name) => `\`${name}\``)
  return row([
    `\`${model.name}\`${further.length > 0 ? `, also ${further.join(', ')}` : ''}`,
    statusOf(model),
    can.size ? sizesOf(can.size) : 'any',
    listed(can.qualities.map((quality) => wireName(QualitySchema, quality))),
    listed(can.styles.map((style) => wireName(StyleSchema, style))),
    listed(can.backgrounds.map((background) => wireName(BackgroundSchema, background))),
    listed(
      can.outputFormats.map((format) => wireName(OutputFormatSchema, format)),
      "the vendor's choice"
    ),
    String(can.maxImagesPerCall),
    can.maxPromptLength === 0 ? 'no limit known' : `${can.maxPromptLength} characters`,
    can.seed ? 'yes' : 'no',
    can.negativePrompt ? 'yes' : 'no',
    can.streaming ? 'yes' : 'no',
    model.pricing ? priceOf(model.pricing) : '**not known**'
  ])
}

function statusOf({ status, shutdownDate, replacement }: CatalogModel): string {
  const word = wireName(ModelStatusSchema, status) ?? 'live'
  const date = shutdownDate === '' ? '' : word === 'retired' ? ` since ${shutdownDate}` : ` until ${shutdownDate}`
  return `${word}${date}${replacement === '' ? '' : `; then \`${replacement}\``}`
}

function sizesOf(size: SizeRule): string {
  const tiers = size.rule.case === 'ratioTiers' ? size.rule.value.tiers.map((tier) => wireName(ResolutionSchema, tier)) : []
  return `${describeSizes(size).replace(/^of the aspect ratio /, '')}${tiers.length > 0 ? `; ${listed(tiers)}` : ''}`
}

/** What is charged for an image, as far as lines for images or images' tokens say it. */
function priceOf({ lines }: Pricing): string {
  const images = lines.filter(({ unit }) => unit === PriceUnit.IMAGE).map(({ micros = 0n }) => Number(micros) / 1_000_000)
  const tokens = lines.some(({ unit }) => unit === PriceUnit.IMAGE_OUTPUT_TOKEN)
  const [least, most] = [Math.min(...images), Math.max(...images)]
  const each = images.length === 0 ? '' : most === 0 ? 'free' : `$${least}${most > least ? ` to $${most}` : ''} an image`
  const parts = [each, tokens ? 'by tokens' : ''].filter((part) => part !== '')
  return parts.length === 0 ? '**not known** for images' : parts.join(', or ')
}

function listed(words: readonly (string | undefined)[], none = '–'): string {
  return words.length === 0 ? none : words.join(', ')
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}
