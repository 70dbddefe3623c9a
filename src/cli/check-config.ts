import { describeSettings } from '../config/describe-settings.ts'
import { unservedModels } from '../config/unserved-models.ts'
import { loadConfig } from '../config.ts'
import type { Terminal } from './terminal.ts'

/** Prints the effective configuration, which can be used as a file again once the secrets are filled in. Throws `ConfigError`. */
export async function checkConfig(terminal: Terminal): Promise<number> {
  const loaded = await loadConfig(terminal.environment, { directory: terminal.directory })
  for (const warning of [...loaded.warnings, ...unservedModels(loaded)]) terminal.stderr.write(`warning: ${warning}\n`)
  const source = loaded.file ?? 'no file (there is no atelier.yaml and ATELIER_CONFIG is not set)'
  terminal.stdout.write(`# The configuration is valid. Read from: ${source}, environment, defaults.\n${describeSettings(loaded)}`)
  return 0
}
