import type { YAMLParseError, YAMLWarning } from 'yaml'

/** What is wrong with the YAML, without any of its text: a secret may stand there. */
export function syntaxProblem(error: YAMLParseError | YAMLWarning, text: string): string {
  const line = text.slice(text.lastIndexOf('\n', error.pos[0] - 1) + 1).split('\n', 1)[0] ?? ''
  const hint = /\{.*\$\{/.test(line) ? `; inside { } a value that holds \${…} must be in quotes` : ''
  return `not valid YAML: ${ownWords[error.code] ?? withoutSource(error.message)}${hint}`
}

const ownWords: Partial<Record<string, string>> = {
  BAD_DIRECTIVE: 'directives are not supported here',
  BAD_DQ_ESCAPE: 'invalid escape sequence in double quotes',
  DUPLICATE_KEY: 'this key appears twice',
  MULTIPLE_DOCS: 'the file must hold one document',
  NON_STRING_KEY: 'keys must be text: put them in quotes',
  RESOURCE_EXHAUSTION: 'it nests too deeply',
  TAB_AS_INDENT: 'tabs are not allowed as indentation',
  TAG_RESOLVE_FAILED: 'tags are not supported here'
}

/** The parser's messages quote the source after a colon. */
function withoutSource(message: string): string {
  const cut = message.replace(/(?<=\w): .*$/s, '')
  return cut.charAt(0).toLowerCase() + cut.slice(1)
}
