/** The names, at most three, that somebody who wrote `written` probably meant; the likeliest first. */
export function nearestNames(written: string, names: Iterable<string>): string[] {
  const most = Math.max(2, Math.floor(written.length / 3))
  const near: { name: string; distance: number }[] = []
  for (const name of names) {
    const distance = distanceOf(written, name, most)
    if (distance <= most) near.push({ name, distance })
  }
  return near
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ name }) => name)
}

/** A name that goes on where `written` ends, or the other way round, is as near as one wrong character. */
function distanceOf(written: string, name: string, most: number): number {
  if (name === written) return 0
  if (written.length >= 3 && (name.startsWith(written) || written.startsWith(name))) return 1
  return Math.abs(name.length - written.length) > most ? Number.POSITIVE_INFINITY : editDistance(written, name)
}

/** How many characters must be added, dropped or replaced to make one text of the other, without regard to case. */
function editDistance(a: string, b: string): number {
  const from = a.toLowerCase()
  const to = b.toLowerCase()
  let row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let line = 1; line <= from.length; line += 1) {
    const next = [line]
    for (let column = 1; column <= to.length; column += 1) {
      const replaced = (row[column - 1] ?? 0) + (from[line - 1] === to[column - 1] ? 0 : 1)
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
