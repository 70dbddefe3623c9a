/** An amount as people read it: `$5.00`, `$0.0412`. */
export function formatUsd(micros: number | bigint): string {
  const amount = BigInt(micros)
  const digits = (amount < 0n ? -amount : amount).toString().padStart(7, '0')
  const decimals = digits.slice(-6).replace(/0{1,4}$/, '')
  return `${amount < 0n ? '-' : ''}$${digits.slice(0, -6)}.${decimals}`
}

/** An amount in micro-USD as it is written in USD: `5`, `0.25`, `$5.00`. Undefined for what is none, or has more than six decimals. */
export function parseUsd(text: string): number | undefined {
  const [, whole = '', decimals = ''] = /^\$?(\d{1,9})(?:\.(\d{1,6}))?$/.exec(text.trim()) ?? []
  return whole === '' ? undefined : Number(whole) * 1_000_000 + Number(decimals.padEnd(6, '0'))
}
