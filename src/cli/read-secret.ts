import type { Terminal } from './terminal.ts'

/**
 * A secret of the user's: from a pipe, else typed without being shown. Never an argument, which other users of the machine can see. Throws an
 * Error where there is none.
 */
export async function readSecret(terminal: Terminal, name: string): Promise<string> {
  const { readInput, askSecret } = terminal
  const secret = (readInput ? await readInput() : await askSecret?.(`${capitalized(name)}: `))?.trim()
  if (!secret) throw new Error(`there is no ${name}: pipe it in, or type it where the command asks for it`)
  return secret
}

function capitalized(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}
