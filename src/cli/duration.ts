/** Seconds of a length of time such as `90s`, `15m`, `12h`, `30d` or `2w`; undefined for what is none, or in none of these units. */
export function parseDuration(text: string, units: readonly Unit[]): number | undefined {
  const [, count, letter] = /^([1-9][0-9]{0,5})([smhdw])$/.exec(text) ?? []
  const unit = units.find((each) => each === letter)
  return unit && Number(count) * unitSeconds[unit]
}

/** From the shortest to the longest. */
export const unitSeconds = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 } as const

type Unit = keyof typeof unitSeconds
