/** What a command sees of the process that it runs in. */
export interface Terminal {
  environment: Readonly<Record<string, string | undefined>>
  /** The working directory. */
  directory: string
  stdout: Output
  stderr: Output
  /** Asks the user, without showing what is typed; undefined where nothing was. Unset: nobody can be asked. */
  askSecret?(question: string): Promise<string | undefined>
  /** All that is piped in, as text. Unset where a user types. */
  readInput?(): Promise<string>
  /** From now on the process no longer ends by itself on SIGTERM, SIGINT and errors that nobody caught: they are told instead. */
  watch(onEnding: (ending: Ending) => void): void
}

export interface Output {
  write(text: string): unknown
  /** Whether a human reads it. */
  isTTY?: boolean
}

export type Ending = { kind: 'signal'; signal: 'SIGTERM' | 'SIGINT' } | { kind: 'fault'; error: unknown }
