import type { Measurement } from './measure.ts'
import type { Report } from './report.ts'
import type { ScenarioName } from './scenarios.ts'
import type { TargetName } from './targets.ts'

interface Panel {
  scenario: ScenarioName
  title: string
  unit: string
  figure: (measurement: Measurement) => number | undefined
}

const panels: readonly Panel[] = [
  { scenario: 'url', title: '256 B answer (link)', unit: 'ms of CPU', figure: ({ cpuMsPerRequest }) => cpuMsPerRequest },
  { scenario: 'image', title: '2.2 MB answer (one image)', unit: 'ms of CPU', figure: ({ cpuMsPerRequest }) => cpuMsPerRequest },
  { scenario: 'four-images', title: '8.8 MB answer (four images)', unit: 'ms of CPU', figure: ({ cpuMsPerRequest }) => cpuMsPerRequest },
  { scenario: 'held', title: '1,000 requests held, 2.2 MB each', unit: 'MB at the peak', figure: ({ peakRssMB }) => peakRssMB }
]

const labels: Record<TargetName, string> = {
  nginx: 'nginx',
  bare: 'bare Node proxy',
  atelier: 'Atelier',
  'atelier-tasks': 'Atelier, tasks on',
  'atelier-guarded': 'Atelier, all on',
  'atelier-postgres': 'Atelier, PostgreSQL',
  portkey: 'Portkey'
}

const width = 880
const panelWidth = width / 2
const barHeight = 18
const rowHeight = 26
const headHeight = 40
const labelWidth = 128
const longestBar = 210

/** One panel per figure, each with a scale of its own: what a request costs the gateway itself. In colours that do on white and on black. */
export function drawChart(report: Report): string {
  const drawn = panels.flatMap((panel) => {
    const bars = report.measurements.flatMap((measurement) => {
      const value = measurement.scenario === panel.scenario ? panel.figure(measurement) : undefined
      return value === undefined ? [] : [{ target: measurement.target, value }]
    })
    return bars.length === 0 ? [] : [{ panel, bars }]
  })
  const panelHeight = headHeight + rowHeight * Math.max(0, ...drawn.map(({ bars }) => bars.length)) + 16
  const height = Math.ceil(drawn.length / 2) * panelHeight + 28
  const groups = drawn.map(({ panel, bars }, index) => {
    const [x, y] = [(index % 2) * panelWidth, Math.floor(index / 2) * panelHeight]
    return `<g transform="translate(${x} ${y})">${drawPanel(panel, bars)}</g>`
  })
  const { cpu, cores, node } = report.machine
  const source = `${cores} × ${cpu}, Node ${node}; the gateway's own process; shorter is better`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="What a request costs each gateway">
<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #777 }
.title { font-weight: 600; font-size: 14px }
.bar { fill: #9a9a9a }
.ours { fill: #d9772b }
.strong { font-weight: 600; fill: #d9772b }
.source { font-size: 11px }
</style>
${groups.join('\n')}
<text class="source" x="16" y="${height - 10}">${escapeText(source)}</text>
</svg>
`
}

function drawPanel({ title, unit }: Panel, bars: readonly { target: TargetName; value: number }[]): string {
  const most = Math.max(...bars.map(({ value }) => value))
  const rows = bars.map(({ target, value }, row) => {
    const y = headHeight + row * rowHeight
    const length = Math.max(1, (value / most) * longestBar).toFixed(1)
    const [barClass, textClass] = target.startsWith('atelier') ? ['ours', ' class="strong"'] : ['bar', '']
    return [
      `<text${textClass} x="${labelWidth}" y="${y + 14}" text-anchor="end">${labels[target]}</text>`,
      `<rect class="${barClass}" x="${labelWidth + 10}" y="${y}" width="${length}" height="${barHeight}" rx="2"/>`,
      `<text${textClass} x="${labelWidth + 16 + Number(length)}" y="${y + 14}">${shown(value)}</text>`
    ].join('')
  })
  return `<text class="title" x="16" y="24">${escapeText(title)}<tspan font-weight="400">, ${escapeText(unit)}</tspan></text>${rows.join('\n')}`
}

function shown(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toFixed(3)
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
