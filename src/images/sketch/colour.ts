/** Mixes two colours (`#rrggbb`) as the eye sees them, in OKLab; 0 gives the first, 1 the second. */
export function mix(from: string, to: string, share: number): string {
  const a = toOklab(from)
  const b = toOklab(to)
  return fromOklab({ l: a.l + (b.l - a.l) * share, a: a.a + (b.a - a.a) * share, b: a.b + (b.b - a.b) * share })
}

/** Perceived lightness, from 0 (black) to 1 (white). */
export function lightness(colour: string): number {
  return toOklab(colour).l
}

/** Scales the colourfulness, and the distance of the lightness from the middle. */
export function tone(colour: string, chroma: number, contrast: number): string {
  const { l, a, b } = toOklab(colour)
  return fromOklab({ l: Math.min(0.985, Math.max(0.06, 0.6 + (l - 0.6) * contrast)), a: a * chroma, b: b * chroma })
}

/** Whichever of the candidates stands out most on a ground. */
export function mostLegible(ground: string, candidates: readonly [string, ...string[]]): string {
  const distance = (colour: string) => Math.abs(lightness(colour) - lightness(ground))
  return candidates.reduce((best, candidate) => (distance(candidate) > distance(best) ? candidate : best))
}

/** A colour on the way through a list of colours; 0 is the first, 1 the last. */
export function along(colours: readonly string[], position: number): string {
  const place = Math.min(1, Math.max(0, position)) * (colours.length - 1)
  const index = Math.min(Math.floor(place), colours.length - 2)
  const [from, to] = [colours[index], colours[index + 1]]
  return from === undefined || to === undefined ? (colours[0] ?? '#000000') : mix(from, to, place - index)
}

interface Oklab {
  l: number
  a: number
  b: number
}

// Matrices: Björn Ottosson, "A perceptual color space for image processing" (2020), public domain.
function toOklab(colour: string): Oklab {
  const [red, green, blue] = [1, 3, 5].map((start) => toLinear(Number.parseInt(colour.slice(start, start + 2), 16) / 255)) as [
    number,
    number,
    number
  ]
  const l = Math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
  const m = Math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
  const s = Math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
  return {
    l: 0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    a: 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    b: 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s
  }
}

function fromOklab(lab: Oklab): string {
  const l = (lab.l + 0.3963377774 * lab.a + 0.2158037573 * lab.b) ** 3
  const m = (lab.l - 0.1055613458 * lab.a - 0.0638541728 * lab.b) ** 3
  const s = (lab.l - 0.0894841775 * lab.a - 1.291485548 * lab.b) ** 3
  const channels = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s
  ]
  return `#${channels.map((channel) => toByte(channel).toString(16).padStart(2, '0')).join('')}`
}

function toLinear(channel: number): number {
  return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4
}

function toByte(linear: number): number {
  const clipped = Math.min(1, Math.max(0, linear))
  return Math.round(255 * (clipped <= 0.0031308 ? clipped * 12.92 : 1.055 * clipped ** (1 / 2.4) - 0.055))
}
