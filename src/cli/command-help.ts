/** The help of each command, and of each group of commands, by what it is called. */
export const commandHelp: Readonly<Record<string, string>> = {
  serve: `Usage: atelier serve

Starts the server, which runs until SIGTERM or SIGINT. \`atelier help\` lists the variables that
configure it; \`atelier check-config\` prints what is in effect.
`,
  'check-config': `Usage: atelier check-config

Checks the configuration and prints what is in effect, with secrets masked.
`,
  'new-key': `Usage: atelier new-key [--admin]

Makes an API key through the database in place of the one that the first start or an earlier
new-key made; a running server takes it within about a second.

  --admin   the key for operating the server: orgs, keys, GET /metrics
`,
  'callback-secret': `Usage: atelier callback-secret [--rotate] [--org <id>]

Prints the secret that callbacks are signed with, and makes it where there is none; through the
database, also while the server runs.

  --rotate     make a new one, beside which the one before signs for 24 hours
  --org <id>   the organization; default unless told
`,
  orgs: `Usage: atelier orgs create <id> [--name <text>]
       atelier orgs list
       atelier orgs disable <id>
       atelier orgs enable <id>

Organizations are tenants: tasks, images and API keys belong to one, and no other sees them.
\`default\` always exists and is the operator's own. The keys of a disabled one are refused.

  --name <text>   name for people; the id unless told
  --url <url>     the server; ATELIER_URL, else http://127.0.0.1:8080
  --json          print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.
`,
  keys: `Usage: atelier keys create --name <text> [--org <id>] [--expires <time>] [--scopes <list>]
                           [--models <list>] [--providers <list>]
       atelier keys list [--org <id>] [--all]
       atelier keys update <id> [--name …] [--expires …] [--scopes …] [--models …] [--providers …]
       atelier keys revoke <id>

create prints the key, and nothing else, to standard output; it cannot be read again.

  --name <text>        what the key is for
  --org <id>           its organization; default unless told
  --expires <time>     30m, 12h, 90d, 2w, a day such as 2027-01-31 (UTC), or never
  --scopes <list>      of generate, edit, read_tasks and admin; the first three unless told
  --models <list>      models it may use, e.g. "gpt-image-*,sketch"; * is all
  --providers <list>   providers it may use
  --all                list revoked and expired keys too
  --url <url>          the server; ATELIER_URL, else http://127.0.0.1:8080
  --json               print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.

  atelier keys create --org acme --name ci --expires 90d
`,
  models: `Usage: atelier models [--json] [--url <url>]

Lists the models that the API key in ATELIER_API_KEY may use. EDITS is the most input images of
an edit, and whether it takes a mask; LIVE is whether it shows the image while it is made.

  --url <url>   the server; ATELIER_URL, else http://127.0.0.1:8080
  --json        print JSON, with everything that is known of each model
`,
  generate: `Usage: atelier generate <prompt> -o <file> [options]

Makes an image with the API key in ATELIER_API_KEY, or the one that a first start left in the
data directory. The file's ending (.png, .jpg, .webp) is the format.

  -o, --output <file>   where the image goes
  --model <name>        as \`atelier models\` lists them; the server's default_model unless told
  --size <size>         e.g. 1024x1536, 16:9, auto
  --quality <quality>   e.g. low, high, hd
  --previews <n>        up to 3 previews in <file>.preview while the image is made; vendors may
                        bill them
  --url <url>           the server; ATELIER_URL, else http://127.0.0.1:8080
  --json                print JSON

  atelier generate "a cat" -o cat.png
`,
  help: `Usage: atelier help [command]

Tells about a command, or about all of them.
`,
  version: `Usage: atelier version

Prints the version.
`
}
