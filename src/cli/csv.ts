/** What a cell holds; texts may come from anybody, numbers are ours. */
export type Cell = string | number | bigint

/**
 * A line of CSV as RFC 4180 writes it. Texts that a spreadsheet would take for a formula get an apostrophe in front, as spreadsheets do it
 * themselves: they come from callers.
 */
export function csvLine(cells: readonly Cell[]): string {
  return `${cells.map((cell) => (typeof cell === 'string' ? quoted(harmless(cell)) : String(cell))).join(',')}\r\n`
}

function harmless(text: string): string {
  return /^\s*[=+\-@|%]|^[\t\r\n]/.test(text) ? `'${text}` : text
}

function quoted(text: string): string {
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
