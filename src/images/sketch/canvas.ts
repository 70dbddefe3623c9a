export interface Rect {
  x: number
  y: number
  width: number
  height: number
}

export interface Point {
  x: number
  y: number
}

/** An SVG document in the making. Lengths are pixels; later marks lie on top. */
export interface Canvas {
  readonly width: number
  readonly height: number
  /** Adds an element with its attributes; numbers are rounded to a hundredth. */
  add(element: string, attributes: Attributes, content?: string): void
  /** A gradient from top to bottom (or at another angle, in degrees) over each shape that it fills. */
  gradient(colours: readonly string[], angle?: number): string
  /** Draws what `draw` adds inside an outline (path data) only; slow on large areas. */
  within<T>(outline: string, draw: () => T): T
  /** The document; with a share below 1, only as many of the first marks. */
  toSvg(share?: number): string
}

export type Attributes = Record<string, string | number | undefined>

export function createCanvas(width: number, height: number): Canvas {
  const definitions: string[] = []
  const marks: string[] = []
  const define = (markup: (id: string) => string) => {
    const id = `d${definitions.length}`
    definitions.push(markup(id))
    return `url(#${id})`
  }
  return {
    width,
    height,
    add: (element, attributes, content = '') => marks.push(tag(element, attributes, content)),
    gradient: (colours, angle = 90) => {
      const stops = colours.map((colour, index) => tag('stop', { offset: index / Math.max(1, colours.length - 1), 'stop-color': colour }))
      const [dx, dy] = [Math.cos((angle * Math.PI) / 180) / 2, Math.sin((angle * Math.PI) / 180) / 2]
      return define((id) => tag('linearGradient', { id, x1: 0.5 - dx, y1: 0.5 - dy, x2: 0.5 + dx, y2: 0.5 + dy }, stops.join('')))
    },
    within: (outline, draw) => {
      const clip = define((id) => tag('clipPath', { id }, tag('path', { d: outline })))
      const first = marks.length
      const result = draw()
      marks.push(tag('g', { 'clip-path': clip }, marks.splice(first).join('\n')))
      return result
    },
    toSvg: (share = 1) =>
      tag(
        'svg',
        { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}` },
        `<defs>${definitions.join('')}</defs>${marks.slice(0, Math.ceil(marks.length * share)).join('\n')}`
      )
  }
}

/** Rounds a coordinate to a hundredth of a pixel. */
export function px(value: number): number {
  return Math.round(value * 100) / 100
}

/** Escapes text for element content and attribute values. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

function tag(element: string, attributes: Attributes, content = ''): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}="${typeof value === 'number' ? px(value) : escapeXml(String(value))}"`)
  return `<${element}${written.join('')}>${content}</${element}>`
}
