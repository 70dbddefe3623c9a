import type { Output } from './terminal.ts'

/** One line on a terminal that tells how far a request is; on anything else nothing is written but notes. */
export interface ProgressLine extends Disposable {
  /** Who works on it. Until there is progress, the time that has passed is shown. */
  begin(worker: string): void
  /** 0 to 1. */
  progress(fraction: number): void
  /** A line of its own. */
  note(text: string): void
  /** Takes the line away. */
  end(): void
}

export function createProgressLine(output: Output): ProgressLine {
  const begunAtMs = Date.now()
  let worker = ''
  let fraction: number | undefined
  let timer: NodeJS.Timeout | undefined

  const clear = () => {
    if (output.isTTY) output.write('\r\x1b[K')
  }
  const draw = () => {
    const seconds = Math.floor((Date.now() - begunAtMs) / 1000)
    const bar = fraction === undefined ? '' : ` ${barOf(fraction)} ${String(Math.round(fraction * 100)).padStart(3)}%`
    clear()
    output.write(`${worker.slice(0, 36)}${bar} ${seconds} s`)
  }
  const end = () => {
    clearInterval(timer)
    if (timer !== undefined) clear()
    timer = undefined
  }

  return {
    begin(name) {
      worker = name
      if (!output.isTTY) return
      timer ??= setInterval(draw, 250)
      draw()
    },
    progress(value) {
      fraction = Math.min(1, Math.max(0, value))
      if (timer !== undefined) draw()
    },
    note(text) {
      clear()
      output.write(`${text}\n`)
      if (timer !== undefined) draw()
    },
    end,
    [Symbol.dispose]: end
  }
}

const barWidth = 24

function barOf(fraction: number): string {
  const done = Math.round(fraction * barWidth)
  return `[${'#'.repeat(done)}${'.'.repeat(barWidth - done)}]`
}
