/** The parameters that an answer warns of, as in "size=converted". */
export function warnedOf({ headers }: Response): string[] {
  return [...(headers.get('x-atelier-warnings') ?? '').matchAll(/(\w+=\w+); message=/g)].map((match) => match[1] ?? '')
}
