import {
  type Organization,
  OrganizationSchema,
  PlatformCredentials,
  PlatformCredentialsSchema
} from '../../gen/atelier/v1/organization_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { enumValue, wireName, wireNames } from '../contract/wire-names.ts'
import { asAdmin } from './client/admin.ts'
import { everyPage } from './client/every-page.ts'
import { formatDay } from './expiry.ts'
import { printAnswer } from './print-answer.ts'
import type { Given } from './read-arguments.ts'
import { renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** `atelier orgs create <id>` */
export function createOrganization(terminal: Terminal, given: Given): Promise<number> {
  const [id = ''] = given.arguments
  const platformCredentials = readPlatformKeys(given)
  return asAdmin(terminal, given, async (admin, server) => {
    const { organization } = await server.ask(admin.createOrganization({ id, name: given.values.name ?? '', platformCredentials }))
    return tell(
      terminal,
      given,
      organization,
      `There is now an organization ${id}. \`atelier keys create --org ${id} --name …\` makes a key for it.`
    )
  })
}

/** `atelier orgs update <id>` */
export function updateOrganization(terminal: Terminal, given: Given): Promise<number> {
  const [id = ''] = given.arguments
  const { name } = given.values
  const platformCredentials = readPlatformKeys(given)
  if (name === undefined && platformCredentials === PlatformCredentials.UNSPECIFIED) {
    throw new UsageError('orgs update needs to know what to change', 'orgs update')
  }
  return asAdmin(terminal, given, async (admin, server) => {
    const change = { id, platformCredentials, ...(name !== undefined && { name }) }
    const { organization } = await server.ask(admin.updateOrganization(change))
    return tell(terminal, given, organization, `The organization ${id} is changed; every process follows within about a second.`)
  })
}

/** `atelier orgs list` */
export function listOrganizations(terminal: Terminal, given: Given): Promise<number> {
  return asAdmin(terminal, given, async (admin, server) => {
    const organizations = await everyPage(
      async (page) => await server.ask(admin.listOrganizations(page)),
      (page) => page.organizations
    )
    const json = { organizations: organizations.map((each) => encodeMessage(OrganizationSchema, each)) }
    const table = renderTable(organizations, [
      { title: 'ID', text: ({ id }) => id, cut: true },
      { title: 'NAME', text: ({ name }) => name, cut: true },
      { title: 'CREATED', text: ({ createdAt }) => formatDay(Number(createdAt)) },
      { title: 'PLATFORM KEYS', text: platformKeysOf },
      { title: 'STATE', text: ({ disabled }) => (disabled ? 'disabled' : 'active') }
    ])
    return printAnswer(terminal, given, json, table)
  })
}

/** `atelier orgs disable <id>` and `atelier orgs enable <id>` */
export function switchOrganization(terminal: Terminal, given: Given, { disabled }: { disabled: boolean }): Promise<number> {
  const [id = ''] = given.arguments
  return asAdmin(terminal, given, async (admin, server) => {
    const { organization } = await server.ask(admin.updateOrganization({ id, disabled }))
    const what = disabled ? 'are refused now; requests that have begun are finished' : 'work again'
    return tell(terminal, given, organization, `The API keys of ${id} ${what}.`)
  })
}

function readPlatformKeys({ values }: Given): PlatformCredentials {
  const text = values['platform-keys']
  if (text === undefined) return PlatformCredentials.UNSPECIFIED
  const value = enumValue(PlatformCredentialsSchema, text.replaceAll('-', '_'))
  if (value !== undefined) return value
  const known = wireNames(PlatformCredentialsSchema).map(dashed).join(', ')
  throw new UsageError(`--platform-keys knows ${known}, not ${text}`)
}

function platformKeysOf({ platformCredentials }: Organization): string {
  return dashed(wireName(PlatformCredentialsSchema, platformCredentials) ?? '')
}

function dashed(name: string): string {
  return name.replaceAll('_', '-')
}

function tell(terminal: Terminal, given: Given, organization: Organization | undefined, sentence: string): number {
  const json = organization && encodeMessage(OrganizationSchema, organization)
  return printAnswer(terminal, given, json, sentence)
}
