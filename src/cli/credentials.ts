import { createClient } from '@connectrpc/connect'
import { type Credential, CredentialSchema } from '../../gen/atelier/v1/credential_pb.ts'
import { CredentialService } from '../../gen/atelier/v1/credential_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { asAdmin } from './client/admin.ts'
import { everyPage } from './client/every-page.ts'
import type { RemoteServer } from './client/server.ts'
import { formatDay } from './expiry.ts'
import { printAnswer } from './print-answer.ts'
import type { Given } from './read-arguments.ts'
import { readSecret } from './read-secret.ts'
import { type Column, renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** `atelier credentials set <provider>`: the key comes from a pipe or is typed. */
export async function setCredential(terminal: Terminal, given: Given): Promise<number> {
  const [provider = ''] = given.arguments
  const { org = '', name = '', weight } = given.values
  const request = { organizationId: org, provider, name, ...(weight !== undefined && { weight: readWeight(weight) }) }
  const keepsKey = given.flags.has('keep-key')
  if (keepsKey && weight === undefined) throw new UsageError('--keep-key changes nothing without --weight', 'credentials set')
  const secret = keepsKey ? undefined : await readSecret(terminal, `${provider} API key`)
  return asAdmin(terminal, given, async (_, server) => {
    const { credential } = await server.ask(clientOf(server).setCredential({ ...request, ...(secret !== undefined && { secret }) }))
    return tell(terminal, given, credential, `Requests of ${credential?.organizationId} ${useOf(credential)}, within about a second.`)
  })
}

/** `atelier credentials list` */
export function listCredentials(terminal: Terminal, given: Given): Promise<number> {
  const { org = '' } = given.values
  return asAdmin(terminal, given, async (_, server) => {
    const credentials = await readAll(server, org)
    const json = { credentials: credentials.map((each) => encodeMessage(CredentialSchema, each)) }
    const shown = org === '' ? columns : columns.filter(({ title }) => title !== 'ORG')
    return printAnswer(terminal, given, json, renderTable(credentials, shown))
  })
}

/** `atelier credentials delete <id or name>` */
export function deleteCredential(terminal: Terminal, given: Given): Promise<number> {
  const [idOrName = ''] = given.arguments
  const { org = 'default' } = given.values
  return asAdmin(terminal, given, async (_, server) => {
    const named = idOrName.startsWith('cred_') ? undefined : (await readAll(server, org)).find(({ name }) => name === idOrName)
    const { credential } = await server.ask(clientOf(server).deleteCredential({ id: named?.id ?? idOrName }))
    if (!credential) throw new Error(`there is no credential ${idOrName}${idOrName.startsWith('cred_') ? '' : ` of ${org}`}`)
    const sentence = `The credential ${credential.name} of ${credential.organizationId} is deleted; no process uses it any more within about a second.`
    return tell(terminal, given, credential, sentence)
  })
}

const columns: readonly Column<Credential>[] = [
  { title: 'ID', text: ({ id }) => id },
  { title: 'ORG', text: ({ organizationId }) => organizationId, cut: true },
  { title: 'PROVIDER', text: ({ provider }) => provider, cut: true },
  { title: 'NAME', text: ({ name }) => name, cut: true },
  { title: 'WEIGHT', text: ({ weight }) => (weight === 0 ? 'named' : `${weight}`) },
  { title: 'KEY', text: ({ hint }) => `…${hint}` },
  { title: 'LAST USED', text: ({ lastUsedAt }) => (lastUsedAt === undefined ? 'never' : formatDay(Number(lastUsedAt))) }
]

function clientOf({ transport }: RemoteServer) {
  return createClient(CredentialService, transport)
}

function readAll(server: RemoteServer, organizationId: string): Promise<Credential[]> {
  const client = clientOf(server)
  return everyPage(
    async (page) => await server.ask(client.listCredentials({ ...page, organizationId })),
    (page) => page.credentials
  )
}

function readWeight(text: string): number {
  if (/^\d{1,4}$/.test(text) && Number(text) <= 1000) return Number(text)
  throw new UsageError(`--weight must be a whole number from 0 to 1000, not ${text}`, 'credentials set')
}

function useOf(credential: Credential | undefined): string {
  if (credential?.weight === 0) return `that name it use the ${credential.provider} key ${credential.name}`
  return `for ${credential?.provider} use the organization's own key ${credential?.name}`
}

function tell(terminal: Terminal, given: Given, credential: Credential | undefined, sentence: string): number {
  const json = credential && encodeMessage(CredentialSchema, credential)
  return printAnswer(terminal, given, json, sentence)
}
