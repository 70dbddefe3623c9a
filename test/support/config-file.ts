import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError } from '../../src/config/config-error.ts'
import { type LoadedConfig, loadConfig } from '../../src/config.ts'
import { createTemporaryDirectory } from './temporary-directory.ts'

/** Loads `atelier.yaml` with this text, or none where the text is undefined, from a directory of its own. */
export async function loadYaml(text: string | undefined, environment: Record<string, string> = {}): Promise<LoadedConfig> {
  await using directory = await createTemporaryDirectory()
  if (text !== undefined) await writeFile(join(directory.path, 'atelier.yaml'), text)
  return await loadConfig(environment, { directory: directory.path })
}

/** The lines that `loadYaml` complains with; empty where it doesn't. */
export async function problemsOf(text: string | undefined, environment: Record<string, string> = {}): Promise<readonly string[]> {
  try {
    await loadYaml(text, environment)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
