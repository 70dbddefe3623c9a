/** Unix seconds, as the contract has them, of Unix milliseconds. */
export function toSeconds(ms: number): bigint {
  return BigInt(Math.floor(ms / 1000))
}
