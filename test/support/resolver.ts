/** A resolver that knows these names only. A name with several answers gives one after the other and then repeats the last. */
export function createResolver(names: Record<string, readonly (readonly string[])[]>) {
  const asked: string[] = []
  return {
    asked,
    async lookup(host: string): Promise<readonly string[]> {
      const answers = names[host] ?? []
      const answer = answers[Math.min(asked.filter((name) => name === host).length, answers.length - 1)]
      asked.push(host)
      if (answer === undefined) throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' })
      return answer
    }
  }
}
