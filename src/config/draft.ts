import { create } from '@bufbuild/protobuf'
import { type Config, ConfigSchema } from '../../gen/atelier/v1/config_pb.ts'

/** The configuration while it is read: what is known so far, where each value stands, and what is wrong with it. */
export interface Draft {
  config: Config
  /** By path: "providers.openai.base_url", "cors.allow_origins[0]". */
  origins: Map<string, Origin>
  /** By path; "" stands for the file as a whole. Of several problems with one value the first is kept. */
  problems: Map<string, Problem>
}

export interface Origin {
  /** "atelier.yaml:12:5" or the name of an environment variable. */
  label: string
  /** Where it stands in the file; unset for a variable. */
  offset?: number
  /** The value as it is written there, before variables are filled in; unset where it is not a single value. */
  written?: string
}

export interface Problem {
  /** Where it stands in the file; -1 for the environment. */
  offset: number
  /** One line: where, path, what is wrong. */
  text: string
}

/** Takes what is wrong with the value at a path; undefined stands for nothing. */
export type Report = (path: string, problem: string | undefined) => void

export function emptyDraft(): Draft {
  return { config: create(ConfigSchema), origins: new Map(), problems: new Map() }
}

/**
 * Adds a problem with the value at `path`, which is quoted as written unless it is secret. A value that is missing is reported where the
 * thing that lacks it stands.
 */
export function addProblem(draft: Pick<Draft, 'origins' | 'problems'>, path: string, problem: string): void {
  const written = isSecret(path) ? undefined : draft.origins.get(path)?.written
  addUnquotedProblem(draft, path, written === undefined ? problem : `${problem} (got ${quote(written)})`)
}

/** Adds a problem for which the value is of no interest, or might be a secret that was put in the wrong place. */
export function addUnquotedProblem(draft: Pick<Draft, 'origins' | 'problems'>, path: string, problem: string): void {
  if (draft.problems.has(path)) return
  const origin = originOf(draft, path)
  draft.problems.set(path, {
    offset: origin?.offset ?? -1,
    text: `${origin === undefined ? '' : `${origin.label} `}${path === '' ? '' : `${path}: `}${problem}`
  })
}

/** Whether the value at this path must not be shown. Headers often carry credentials, whatever they are called. */
export function isSecret(path: string): boolean {
  return secretPaths.test(path)
}

const secretPaths =
  /(^|\.)(api_key|admin_key|master_key|database_url|access_key_id|secret_access_key|session_token)$|^previous_master_keys\b|^providers\.[^.]+\.headers\./

function originOf(draft: Pick<Draft, 'origins'>, path: string): Origin | undefined {
  for (let at = path; ; at = at.replace(/(^|[.[])[^.[]*$/, '')) {
    const origin = draft.origins.get(at)
    if (origin !== undefined || at === '') return origin
  }
}

function quote(written: string): string {
  const shown = written.replace(/\/\/[^/\s]*@/, '//…@')
  return JSON.stringify(shown.length > 80 ? `${shown.slice(0, 80)}…` : shown)
}
