import { cpus, release, totalmem, type } from 'node:os'

/** Where the figures come from. */
export interface Machine {
  cpu: string
  cores: number
  memoryGB: number
  system: string
  node: string
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGB: Math.round(totalmem() / 1e9),
    system: `${type()} ${release()}`,
    node: process.version
  }
}
