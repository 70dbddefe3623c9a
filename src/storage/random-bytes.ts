import { randomFillSync } from 'node:crypto'

/**
 * As `randomBytes` of node:crypto, for the few bytes at a time that ids and the like need: to ask for them costs as much as to ask for
 * thousands. The memory is the caller's.
 */
export const fewRandomBytes = createRandomSource()

function createRandomSource(): (length: number) => Uint8Array {
  const stock = new Uint8Array(4096)
  let used = stock.length
  return (length) => {
    if (length > stock.length) return randomFillSync(new Uint8Array(length))
    if (used + length > stock.length) {
      randomFillSync(stock)
      used = 0
    }
    const taken = stock.slice(used, used + length)
    // Nobody else can come by what was given out.
    stock.fill(0, used, used + length)
    used += length
    return taken
  }
}
