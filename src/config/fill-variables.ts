/**
 * Replaces `${NAME}` by the variable's value and `${NAME:-default}` by the default where the variable is unset or empty; `$${` stands
 * for `${`. Problems name variables, never values.
 */
export function fillVariables(
  text: string,
  environment: Readonly<Record<string, string | undefined>>
): { text: string; problems: string[] } {
  const problems: string[] = []
  const filled = text.replace(reference, (whole: string, name: string | undefined, fallback: string | undefined) => {
    if (whole === '$${') return '${'
    if (name === undefined) {
      problems.push(`a reference must read \${NAME} or \${NAME:-default}; write $\${ where \${ is meant literally`)
      return ''
    }
    const value = Object.hasOwn(environment, name) ? environment[name]?.trim() : undefined
    if (fallback !== undefined) return value || fallback
    if (value === undefined)
      problems.push(`the environment variable ${name} is not set; \${${name}:-} stands for nothing where it is unset`)
    return value ?? ''
  })
  return { text: filled, problems }
}

const reference = /\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?/g
