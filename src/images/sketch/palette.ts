import { lightness, tone } from './colour.ts'

/** Colours that go together, each `#rrggbb`. */
export interface Palette {
  /** Light ground. */
  paper: string
  /** Dark ground, and the colour of letters on paper. */
  ink: string
  /** Five colours from light to dark. */
  colours: readonly string[]
}

export type Mood = 'plain' | 'vivid' | 'natural'

/** A palette in a mood: vivid colours are stronger and further apart, natural ones earthier and closer together. */
export function inMood(palette: Palette, mood: Mood): Palette {
  const { chroma, contrast } = moods[mood]
  const toned = (colour: string) => tone(colour, chroma, contrast)
  return {
    paper: tone(palette.paper, chroma, 1),
    ink: tone(palette.ink, chroma, 1),
    colours: palette.colours.map(toned).sort((a, b) => lightness(b) - lightness(a))
  }
}

const moods: Record<Mood, { chroma: number; contrast: number }> = {
  plain: { chroma: 1, contrast: 1 },
  vivid: { chroma: 1.22, contrast: 1.08 },
  natural: { chroma: 0.58, contrast: 0.92 }
}

export const palettes: readonly Palette[] = [
  { paper: '#f3e9d6', ink: '#1f1c1b', colours: ['#f0b53c', '#e56a3d', '#d43d2f', '#2e7f73', '#1d4f91'] },
  { paper: '#fcefe1', ink: '#2a1734', colours: ['#ffbd6b', '#fa8060', '#dc4a6d', '#8e3277', '#3f2566'] },
  { paper: '#f2f0e8', ink: '#14232e', colours: ['#f3c583', '#e27f5d', '#86aca7', '#3f7080', '#1d4257'] },
  { paper: '#f4efde', ink: '#182a22', colours: ['#ecc96f', '#dd9150', '#8fa973', '#4b7d5d', '#21493e'] },
  { paper: '#f9ebd9', ink: '#351b1b', colours: ['#f6bd72', '#ea8a5d', '#c85842', '#8d3c40', '#502633'] },
  { paper: '#eff4ee', ink: '#0c2438', colours: ['#ffd9a3', '#86cdc6', '#3fa3b3', '#1f7098', '#14426f'] },
  { paper: '#f8eeea', ink: '#27173a', colours: ['#f9bda8', '#ee6a8c', '#b23a8f', '#6b2a86', '#33165a'] },
  { paper: '#f6f1e4', ink: '#1a1f42', colours: ['#ffbe2e', '#ff7d62', '#f0569a', '#2f9e7a', '#35509a'] },
  { paper: '#f4ecd9', ink: '#2b2420', colours: ['#e6b03a', '#df6a35', '#9aa564', '#2f858a', '#5a3f38'] },
  { paper: '#f1ede6', ink: '#10142f', colours: ['#ffd588', '#f39a82', '#9a7cc0', '#4c5aa6', '#20295f'] },
  { paper: '#f5f2ec', ink: '#222831', colours: ['#f6d6ad', '#e9a6a1', '#d8616b', '#6d8f9c', '#34495e'] }
]
