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
  orgs: `Usage: atelier orgs create <id> [--name <text>] [--platform-keys <when>]
       atelier orgs update <id> [--name <text>] [--platform-keys <when>]
       atelier orgs list
       atelier orgs disable <id>
       atelier orgs enable <id>

Organizations are tenants: tasks, images and API keys belong to one, and no other sees them.
\`default\` always exists and is the operator's own. The keys of a disabled one are refused.

  --name <text>            name for people; the id unless told
  --platform-keys <when>   when the configured provider keys serve it: never, when-missing (where it
                           has no credential of its own; so unless told), or also-when-refused
                           (there, and after the provider refused every one of its own)
  --url <url>              the server; ATELIER_URL, else http://127.0.0.1:8080
  --json                   print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.
`,
  keys: `Usage: atelier keys create --name <text> [--org <id>] [--expires <time>] [--scopes <list>]
                           [--models <list>] [--providers <list>]
                           [--budget <usd> [--per <period>]]
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
  --budget <usd>       the most that its requests may cost at providers; \`atelier help budgets\`
  --per <period>       day, month or total; month unless told
  --all                list revoked and expired keys too
  --url <url>          the server; ATELIER_URL, else http://127.0.0.1:8080
  --json               print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.

  atelier keys create --org acme --name ci --expires 90d --budget 5
`,
  budgets: `Usage: atelier budgets set <usd> (--org <id> | --key <id> | --all) [--per <period>]
                           [--unknown-price <usd>]
       atelier budgets list [--org <id>]
       atelier budgets delete <id>

A budget is the most that requests may cost at their providers in a day, in a month (both in UTC)
or in total. The price of a request is set aside before it is sent, and what it did cost counts
afterwards. set takes the place of the budget with the same owner and period; what is used stays.

  --org <id>             for all that the keys of this organization do together
  --key <id>             for what this API key does
  --all                  for everything that this server does
  --per <period>         day, month or total; month unless told
  --unknown-price <usd>  what a request counts whose price is not known; else it is refused
  --url <url>            the server; ATELIER_URL, else http://127.0.0.1:8080
  --json                 print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.

  atelier budgets set 5 --org acme
  atelier budgets set 0.50 --per day --key 7LVxCdRq
`,
  credentials: `Usage: atelier credentials set <provider> [--org <id>] [--name <name>] [--weight <n>]
       atelier credentials list [--org <id>]
       atelier credentials delete <id or name> [--org <id>]

Keys of an organization's own accounts at providers. Its requests are served with these; whether
ever with the configured ones, \`atelier orgs update --platform-keys\` says. set reads the key from
a pipe or asks for it, and replaces the one of the same name; no key can be read again.

  --org <id>       whose credential; default unless told
  --name <name>    its name within the organization; the provider's unless told
  --weight <n>     how often it is tried first, among several for one provider: 0 to 1000, 1 unless
                   told; 0 is only for requests that name it
  --keep-key       change the weight alone
  --url <url>      the server; ATELIER_URL, else http://127.0.0.1:8080
  --json           print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.

  atelier credentials set openai --org acme < openai-key.txt
`,
  limits: `Usage: atelier limits set <amount> <metric> --per <window> (--org <id> | --key <id>)
                          [--model <pattern>]
       atelier limits list [--org <id>] [--key <id>]
       atelier limits delete <id>

A limit is a bucket that holds the amount when it is full and fills up again, evenly, within the
window. set changes the amount of a limit that has the same metric, window, model and owner.

  <metric>            requests, images, megapixels, usd, or in-flight: requests whose callers
                      wait at the same time, which need no window
  --per <window>      second, minute, hour, day, or such as 30s, 15m or 6h; a day at most
  --org <id>          all that the keys of this organization do together
  --key <id>          what this API key does
  --model <pattern>   only these models, e.g. "openai/*" or gpt-image-1
  --url <url>         the server; ATELIER_URL, else http://127.0.0.1:8080
  --json              print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.

  atelier limits set 60 requests --per minute --org acme
  atelier limits set 4 in-flight --key 7LVxCdRq --model "openai/*"
`,
  usage: `Usage: atelier usage [--by <list>] [filters] [--format table|csv|json]
       atelier usage export [filters] [--format csv|json]

Sums up what was used and what it cost; export writes every booking of the ledger, oldest first.
Amounts are what providers take. Of calls that are not over it tells what is reserved for them.

  --by <list>         up to three of day, org, key, provider, model, user, operation, credential
                      and metadata:<key>, separated by commas; day unless told
  --from <time>       the first day, such as 2026-11-01, a month such as 2026-11, or 30d for so
                      long ago; days are those of UTC
  --to <time>         where to stop, not included
  --org <id>          only this organization
  --key <id>          only this API key
  --provider <name>   only this provider
  --model <name>      only this model, as \`--by model\` spells it
  --user <name>       only this end user, as callers name it
  --format <format>   table unless told; of export csv
  --url <url>         the server; ATELIER_URL, else http://127.0.0.1:8080
  --json              the same as --format json

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.

  atelier usage --by key,model --org acme --from 2026-11
  atelier usage export --from 30d > bookings.csv
`,
  policy: `Usage: atelier policy set [--org <id>] [--block-file <file>] [--moderation-url <url>] …
       atelier policy show [--org <id>]
       atelier policy list
       atelier policy delete --org <id>

What an organization may not ask for: its prompts are held against words and phrases, and judged
by an endpoint that speaks OpenAI's POST /v1/moderations. set changes what is said and leaves the
rest as it is.

  --org <id>                  the organization; default unless told
  --block-file <file>         blocked words and phrases, one on each line; # begins a comment.
                              Upper and lower case are the same, words are whole ones, and "*"
                              stands for any characters within a word. An empty file: none
  --moderation-url <url>      the whole address, such as https://api.openai.com/v1/moderations;
                              none: nobody is asked
  --moderation-model <name>   such as omni-moderation-latest; the endpoint's own choice unless told
  --with-key                  read the endpoint's key from a pipe, or ask for it
  --moderation-timeout <t>    from 100ms to 30s; 5s unless told
  --fail closed|open          what becomes of requests while it does not answer: refused (closed)
                              unless told, or served (open)
  --url <url>                 the server; ATELIER_URL, else http://127.0.0.1:8080
  --json                      print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.

  atelier policy set --org acme --block-file words.txt
  atelier policy set --org acme --moderation-url https://api.openai.com/v1/moderations \\
                     --with-key < openai-key.txt
`,
  'master-key': `Usage: atelier master-key status
       atelier master-key rotate
       atelier master-key reseal

status tells which master keys there are, and what is stored that needs each. rotate makes a new
one while the server serves, and keeps the others behind it in the file master-key of the data
directory; a key of the configuration is changed there. reseal seals with the current one what an
earlier one has sealed, and ends with 1 where something still needs an earlier one.

Links to images that an earlier key signed work until they expire, and repeated requests are
recognised, as long as the key stays in the file.

  --url <url>   the server; ATELIER_URL, else http://127.0.0.1:8080
  --json        print JSON

The admin key is ATELIER_ADMIN_KEY. Without it, on the machine of the server and with access to
its data directory, the command makes a key for itself and removes it again.
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
