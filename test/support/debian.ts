import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { TestContext } from 'vitest'

/** Skips a test, with the reason, where one of these files of Debian packages is missing. In CI, which installs them, it fails instead. */
export function needsFiles(context: TestContext, files: Record<string, string>): void {
  need(
    context,
    Object.entries(files).flatMap(([path, debianPackage]) => (existsSync(path) ? [] : [debianPackage]))
  )
}

/** The same for modules of Debian's own Python. */
export function needsPythonModules(context: TestContext, modules: Record<string, string>): void {
  const isMissing = (name: string) => {
    try {
      execFileSync('/usr/bin/python3', ['-c', `import ${name}`], { stdio: 'ignore' })
      return false
    } catch {
      return true
    }
  }
  need(
    context,
    Object.entries(modules).flatMap(([name, debianPackage]) => (isMissing(name) ? [debianPackage] : []))
  )
}

function need(context: TestContext, missing: readonly string[]): void {
  if (missing.length === 0) return
  const reason = `needs Debian's ${missing.join(', ')}`
  if (process.env.CI === 'true') throw new Error(reason)
  // The default reporter counts skipped tests without their reasons.
  console.warn(`skipped: ${reason}`)
  context.skip(reason)
}
