/** Arguments that make no sense. The program ends with 2. */
export class UsageError extends Error {
  /** The command, or group of commands, whose help tells more; empty where there is none. */
  readonly command: string

  constructor(message: string, command = '') {
    super(message)
    this.name = 'UsageError'
    this.command = command
  }
}
