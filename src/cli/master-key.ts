import { createClient } from '@connectrpc/connect'
import { MasterKeySource, type MasterKeyStatus, MasterKeyStatusSchema } from '../../gen/atelier/v1/master_key_pb.ts'
import { MasterKeyService } from '../../gen/atelier/v1/master_key_service_pb.ts'
import { encodeMessage } from '../contract/json.ts'
import { asAdmin } from './client/admin.ts'
import type { RemoteServer } from './client/server.ts'
import { printAnswer } from './print-answer.ts'
import type { Given } from './read-arguments.ts'
import { renderTable } from './table.ts'
import type { Terminal } from './terminal.ts'

/** `atelier master-key status` */
export function showMasterKeys(terminal: Terminal, given: Given): Promise<number> {
  return asAdmin(terminal, given, async (_, server) => {
    const { status } = await server.ask(clientOf(server).getMasterKeyStatus({}))
    const json = status && encodeMessage(MasterKeyStatusSchema, status)
    return printAnswer(terminal, given, json, describe(status))
  })
}

/** `atelier master-key rotate` */
export function rotateMasterKey(terminal: Terminal, given: Given): Promise<number> {
  return asAdmin(terminal, given, async (_, server) => {
    const { keyId } = await server.ask(clientOf(server).rotateMasterKey({}))
    const sentence =
      `The server has the new master key ${keyId}, in the file master-key of its data directory, with the others behind it. ` +
      'Back the file up. `atelier master-key reseal` does away with the need for the others.'
    return printAnswer(terminal, given, { key_id: keyId }, sentence)
  })
}

/** `atelier master-key reseal`: goes on until everything has been looked at. Ends with 1 where something needs an earlier key still. */
export function resealStored(terminal: Terminal, given: Given): Promise<number> {
  return asAdmin(terminal, given, async (_, server) => {
    const client = clientOf(server)
    let [resealed, failed, left, continueToken] = [0n, 0n, 0n, '']
    do {
      const step = await server.ask(client.reseal({ continueToken }))
      resealed += step.resealed
      failed += step.failed
      left = step.left ?? 0n
      continueToken = step.continueToken
      if (terminal.stderr.isTTY) terminal.stderr.write(`\r${resealed} sealed anew`)
    } while (continueToken !== '')
    if (terminal.stderr.isTTY) terminal.stderr.write('\r\x1b[K')
    const problem = failed === 0n ? '' : `; ${failed} cannot be opened, because their key is unknown or they were altered`
    const json = { resealed: Number(resealed), failed: Number(failed), left: Number(left) }
    const sentence = `${resealed} values are sealed with the current master key; ${left === 0n ? 'nothing needs' : `${left} still need`} an earlier one${problem}.`
    printAnswer(terminal, given, json, sentence)
    return left === 0n ? 0 : 1
  })
}

function clientOf({ transport }: RemoteServer) {
  return createClient(MasterKeyService, transport)
}

function describe(status: MasterKeyStatus | undefined): string {
  const from = status?.source === MasterKeySource.FILE ? 'the file master-key in the data directory' : 'the configuration'
  const rows = (status?.keys ?? []).flatMap((key) => {
    const use = key.current ? 'current' : key.known ? 'earlier' : 'unknown'
    const needs = key.neededFor.length === 0 ? [{ kind: 'nothing that is stored', count: undefined }] : key.neededFor
    return needs.map(({ kind, count }, index) => ({ id: index === 0 ? key.id : '', use: index === 0 ? use : '', kind, count }))
  })
  const table = renderTable(rows, [
    { title: 'KEY', text: ({ id }) => id },
    { title: 'STATE', text: ({ use }) => use },
    { title: 'VALUES', text: ({ count }) => (count === undefined ? '' : `${count}`) },
    { title: 'NEEDED FOR', text: ({ kind }) => kind, cut: true }
  ])
  return `The current master key comes from ${from}.\n\n${table}`
}
