/** A column of a table. */
export interface Column<Row> {
  title: string
  text(row: Row): string
  /** Whether its texts may be cut off, with "…", so that the table fits. */
  cut?: boolean
}

/** Aligned columns with their titles, one line each, in at most 80 characters as far as the columns that may be cut allow that. */
export function renderTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const lines = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ text }) => printable(text(row))))]
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => lengthOf(line[index] ?? ''))))
  while (sum(widths) + gap.length * (widths.length - 1) > maxWidth) {
    const cuttable = columns.flatMap(({ cut }, index) => (cut && (widths[index] ?? 0) > minCutWidth ? [index] : []))
    const widest = cuttable.toSorted((a, b) => (widths[b] ?? 0) - (widths[a] ?? 0))[0]
    if (widest === undefined) break
    widths[widest] = (widths[widest] ?? 0) - 1
  }
  const cells = (line: readonly string[]) => line.map((text, index) => cell(text, widths[index] ?? 0))
  return lines.map((line) => `${cells(line).join(gap).trimEnd()}\n`).join('')
}

const maxWidth = 80
const minCutWidth = 6
const gap = '  '

function cell(text: string, width: number): string {
  const characters = [...text]
  const shown = characters.length > width ? `${characters.slice(0, width - 1).join('')}…` : text
  return shown + ' '.repeat(Math.max(0, width - lengthOf(shown)))
}

/** A name that somebody chose must not move the cursor. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?')
}

function lengthOf(text: string): number {
  return [...text].length
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
