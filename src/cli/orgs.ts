import { type Organization, OrganizationSchema } from '../../gen/atelier/v1/organization_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { asAdmin } from './client/admin.ts'
import { everyPage } from './client/every-page.ts'
import { formatDay } from './expiry.ts'
import type { Given } from './read-arguments.ts'
import { renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'

/** `atelier orgs create <id>` */
export function createOrganization(terminal: Terminal, given: Given): Promise<number> {
  const [id = ''] = given.arguments
  return asAdmin(terminal, given, async (admin, server) => {
    const { organization } = await server.ask(admin.createOrganization({ id, name: given.values.name ?? '' }))
    return tell(
      terminal,
      given,
      organization,
      `There is now an organization ${id}. \`atelier keys create --org ${id} --name …\` makes a key for it.`
    )
  })
}

/** `atelier orgs list` */
export function listOrganizations(terminal: Terminal, given: Given): Promise<number> {
  return asAdmin(terminal, given, async (admin, server) => {
    const organizations = await everyPage(
      async (page) => await server.ask(admin.listOrganizations(page)),
      (page) => page.organizations
    )
    if (given.flags.has('json')) {
      const json = { organizations: organizations.map((each) => encodeMessage(OrganizationSchema, each)) }
      terminal.stdout.write(`${JSON.stringify(json, undefined, 2)}\n`)
      return 0
    }
    terminal.stdout.write(
      renderTable(organizations, [
        { title: 'ID', text: ({ id }) => id, cut: true },
        { title: 'NAME', text: ({ name }) => name, cut: true },
        { title: 'CREATED', text: ({ createdAt }) => formatDay(Number(createdAt)) },
        { title: 'STATE', text: ({ disabled }) => (disabled ? 'disabled' : 'active') }
      ])
    )
    return 0
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

function tell(terminal: Terminal, { flags }: Given, organization: Organization | undefined, sentence: string): number {
  const json = organization && encodeMessage(OrganizationSchema, organization)
  terminal.stdout.write(flags.has('json') ? `${JSON.stringify(json, undefined, 2)}\n` : `${sentence}\n`)
  return 0
}
