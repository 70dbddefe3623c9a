import { readdirSync, readFileSync } from 'node:fs'

export interface ProcessUsage {
  /** User and system time of all threads since the start, in milliseconds; to 10 ms. */
  cpuMs: number
  /** Resident memory now, and the most it has been, in MB (10^6 bytes). */
  rssMB: number
  peakRssMB: number
}

/** What a process and its children have used so far, as Linux counts it; undefined on other systems. */
export function readUsage(pid: number): ProcessUsage | undefined {
  try {
    const usages = [usageOf(pid), ...childrenOf(pid).map(readUsage)]
    return usages.reduce<ProcessUsage>(
      (sum, usage) => ({
        cpuMs: sum.cpuMs + (usage?.cpuMs ?? 0),
        rssMB: sum.rssMB + (usage?.rssMB ?? 0),
        peakRssMB: sum.peakRssMB + (usage?.peakRssMB ?? 0)
      }),
      { cpuMs: 0, rssMB: 0, peakRssMB: 0 }
    )
  } catch (error) {
    if (process.platform === 'linux') throw error
    return undefined
  }
}

/** Linux gives times in hundredths of a second, whatever the kernel's own clock is. */
const msPerTick = 10

function usageOf(pid: number): ProcessUsage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name, which may hold anything, ends at the last bracket; user and system time are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const megabytes = (name: string) => (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024) / 1e6
  return { cpuMs: (Number(fields[11]) + Number(fields[12])) * msPerTick, rssMB: megabytes('VmRSS'), peakRssMB: megabytes('VmHWM') }
}

/** The processes that it has started and that still run. Linux only. */
export function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  )
}
