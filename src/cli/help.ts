import { readFile } from 'node:fs/promises'
import { nearest } from '../config/nearest.ts'
import { commandHelp } from './command-help.ts'
import type { Terminal } from './terminal.ts'
import { UsageError } from './usage-error.ts'

/** Tells about a command or a group of commands, with an empty topic about all of them. Throws UsageError for a topic that there is not. */
export async function printHelp(terminal: Terminal, topic = ''): Promise<number> {
  const [group = ''] = topic.split(' ', 1)
  const text = commandHelp[topic] ?? commandHelp[group]
  if (text !== undefined) {
    terminal.stdout.write(text)
    return 0
  }
  if (topic !== '') {
    const guess = nearest(topic, Object.keys(commandHelp))
    throw new UsageError(`there is no command ${topic}${guess === undefined ? '' : `; did you mean ${guess}?`}`)
  }
  terminal.stdout.write(`${await versionLine()}: one typed image service in front of every image model\n\n${help}`)
  return 0
}

export async function printVersion(terminal: Terminal): Promise<number> {
  terminal.stdout.write(`${await versionLine()}\n`)
  return 0
}

async function versionLine(): Promise<string> {
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))
  return `atelier ${version}`
}

const help = `Usage: atelier [command]

Commands
  serve              start the server (also without a command)
  check-config       check the configuration and print what is in effect, with secrets masked
  new-key [--admin]  make an API key in place of the lost one, also while the server runs;
                     with --admin the key for operating the server
  callback-secret [--rotate] [--org ID]
                     print what callbacks are signed with, also while the server runs; with --rotate
                     a new secret, beside which the one before signs for 24 hours
  help [command]     print this text, or what there is to know about a command (--help, -h)
  version            print the version (--version, -v)

Commands that talk to a running server
  orgs               create, list, update, disable and enable organizations
  keys               create, list, update and revoke API keys
  credentials        set, list and delete organizations' own keys for providers
  limits             set, list and delete rate limits of organizations and keys
  usage [export]     what was used and what it cost, by day, key, model and more; every booking
  budgets            set, list and delete budgets of organizations and keys
  policy             set, show, list and delete what organizations may not ask for
  master-key         change the key that everything is sealed with, and what needs earlier ones
  models             list the models and what each can do
  generate           make an image: atelier generate "a cat" -o cat.png

Environment
  ATELIER_CONFIG         configuration file; ./atelier.yaml if there is one
  ATELIER_LISTEN         address to listen on; 127.0.0.1:8080
  PORT                   listen on 0.0.0.0 and this port, unless ATELIER_LISTEN is set
  ATELIER_PUBLIC_URL     where callers reach the server; links to images begin with it
  ATELIER_DATA_DIR       directory for database, images and keys; ./data
  ATELIER_API_KEY        API key for callers; the first start makes one
  ATELIER_ADMIN_KEY      key for operating the server: orgs, keys, GET /metrics
  ATELIER_URL            where orgs, keys, models and generate find the server; http://127.0.0.1:8080
  ATELIER_MASTER_KEY     32 bytes in base64 from which other keys are derived; a file in the data directory
  ATELIER_PREVIOUS_MASTER_KEYS
                         earlier ones, separated by commas, for what they sealed and signed
  ATELIER_MONTHLY_BUDGET_USD
                         the most that all requests may cost at providers in a month; no limit
  ATELIER_UNKNOWN_PRICE_USD
                         what a request counts there whose price is not known; it is refused
  ATELIER_ALLOW_REQUEST_CREDENTIALS
                         true: callers may bring a key for a provider with a request
  ATELIER_ALLOW_PROVIDER_KEY_ONLY
                         true: and need no key of this server then
  ATELIER_CUSTOM_HOSTS   origins at which they may have a provider called, separated by commas
  ATELIER_LOG_LEVEL      trace, debug, info, warn, error, fatal or silent; info
  DATABASE_URL           PostgreSQL for any number of processes; a database in the data directory
  ATELIER_S3_BUCKET      S3-compatible store for images; the data directory
  ATELIER_S3_ENDPOINT    its address; Amazon's
  AWS_REGION             with a bucket: its region; us-east-1
  AWS_ACCESS_KEY_ID      with a bucket: the access key
  AWS_SECRET_ACCESS_KEY  the access key's secret
  AWS_SESSION_TOKEN      the access key's token, if it is a temporary one
  OPENAI_API_KEY         key for the provider openai; the provider exists once this or
                         OPENAI_BASE_URL is set
  OPENAI_BASE_URL        address of the provider openai; OpenAI's own
  STABILITY_API_KEY      the same for the provider stability
  STABILITY_BASE_URL     Stability AI's own
  GEMINI_API_KEY         the same for the provider google
  GEMINI_BASE_URL        the Gemini API's own
  AZURE_OPENAI_API_KEY   the same for the provider azure
  AZURE_OPENAI_ENDPOINT  address of the Azure OpenAI resource; there is no default
The environment counts more than the file, except that the file's settings for these providers
and for the access to the bucket count more than their variables. atelier.example.yaml shows every setting.

Examples
  atelier
  PORT=3000 ATELIER_API_KEY="$KEY" OPENAI_API_KEY=sk-... atelier serve
  ATELIER_CONFIG=/etc/atelier.yaml atelier check-config
  ATELIER_DATA_DIR=/var/lib/atelier atelier new-key
  atelier keys create --name ci --expires 90d

It ends with 0 when all went well, with 1 after a failure, with 2 when the arguments make no sense.
`
