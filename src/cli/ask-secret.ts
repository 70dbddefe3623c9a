import type { ReadStream } from 'node:tty'
import type { Output } from './terminal.ts'

/** Asks for a secret on a terminal, without showing what is typed. Resolves to undefined where the user breaks off (Ctrl-C, Ctrl-D). */
export async function askSecret(question: string, input: ReadStream, output: Output): Promise<string | undefined> {
  output.write(question)
  input.setRawMode(true)
  input.setEncoding('utf8')
  try {
    let typed = ''
    for await (const text of input) {
      for (const character of String(text)) {
        if (character === '\r' || character === '\n') return typed
        if (character === '\x03' || character === '\x04') return undefined
        typed = character === '\x7f' || character === '\b' ? typed.slice(0, -1) : typed + character
      }
    }
    return undefined
  } finally {
    input.setRawMode(false)
    output.write('\n')
  }
}
