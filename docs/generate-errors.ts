// Writes docs/errors.md from the error table. Run: npm run generate
import { writeFileSync } from 'node:fs'
import { Code } from '@connectrpc/connect'
import type { ErrorEntry } from '../src/errors/error-entry.ts'
import { errorTable } from '../src/errors.ts'

const rows = Object.entries<ErrorEntry>(errorTable).map(([reason, entry]) => {
  const code = entry.code === null ? '`null`' : `\`${entry.code}\``
  const retry = entry.retryable ? 'yes' : 'no'
  const billed = entry.billed === 'no' ? 'no' : '**possibly**'
  return `| \`${reason}\` | ${entry.http} | \`${entry.type}\` | ${code} | ${rpcName(entry.rpc)} | ${billed} | ${retry} | ${entry.meaning} |`
})

writeFileSync(
  new URL('./errors.md', import.meta.url),
  `<!-- Written by docs/generate-errors.ts from src/errors/. -->
# Errors

Every request that fails names one of these reasons.

* **REST** answers with the HTTP status and \`{"error": {"message", "type", "param", "code"}}\`, always with all four keys. \`param\` is the field at
  fault, or null. \`x-request-id\` finds the request in the log. \`retry-after\` (whole seconds, at most 60) and \`retry-after-ms\` say how long to wait.
  \`x-should-retry: false\` keeps the OpenAI SDKs from sending again what may have been billed, \`x-portkey-gateway-exception: true\` Portkey's.
* **gRPC, gRPC-Web and Connect** answer with the code and \`google.rpc.ErrorInfo\` (\`reason\`, \`domain: "atelier.v1"\`, and \`requestId\`, \`param\`,
  \`outcome\` as metadata), \`google.rpc.BadRequest\` for the field at fault, and \`google.rpc.RetryInfo\` for the wait.

*Billed* tells whether the provider may have charged for the request. *Again* tells whether the same request may succeed when it is sent again. An error
that knows better than this table says so itself (\`outcome\`: \`not_sent\`, \`rejected\` or \`unknown\`).

| reason | HTTP | type | code | RPC code | billed | again | meaning |
|---|---|---|---|---|---|---|---|
${rows.join('\n')}
`
)

/** As gRPC spells it, e.g. INVALID_ARGUMENT. */
function rpcName(code: Code): string {
  return Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()
}
