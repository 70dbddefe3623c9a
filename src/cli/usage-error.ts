/** Arguments that make no sense. The program ends with 2. */
export class UsageError extends Error {
  /** The command whose help tells more; unset where there is none. */
  readonly command: string | undefined

  constructor(message: string, command?: string) {
    super(message)
    this.name = 'UsageError'
    this.command = command
  }
}
