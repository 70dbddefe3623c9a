/** The value below which that part of the values lies; 0.5 is the median. NaN of no values. */
export function quantile(values: readonly number[], part: number): number {
  const rising = values.toSorted((one, other) => one - other)
  return rising[Math.min(rising.length - 1, Math.floor(rising.length * part))] ?? Number.NaN
}
