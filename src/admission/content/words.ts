/**
 * The words of a text in the form in which they are compared: without upper case, different spellings of the same characters, and
 * characters that nobody sees. Punctuation only separates them. A symbol is a word, and so is each character of a script without blanks
 * between words. Linear in the length of the text.
 */
export function wordsOf(text: string): string[] {
  return fold(text).match(textWord) ?? []
}

/**
 * The words of a pattern, in which "*" may stand for any characters; "*" alone for a whole word, which it is only between others. Empty
 * where nothing would be left to look for.
 */
export function patternWordsOf(pattern: string): string[] {
  const words = (fold(pattern).match(patternWord) ?? []).map((word) => word.replace(/\*+/g, '*'))
  const first = words.findIndex((word) => word !== '*')
  return first === -1 ? [] : words.slice(first, words.findLastIndex((word) => word !== '*') + 1)
}

/** Written without blanks between words: Han, kana, Thai, Lao, Khmer and Burmese. */
const unspaced = String.raw`[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}]`
const textWord = wordPattern(String.raw`[\p{L}\p{N}\p{M}]`)
const patternWord = wordPattern(String.raw`[*\p{L}\p{N}\p{M}]`)

function wordPattern(spelling: string): RegExp {
  return new RegExp(String.raw`[${unspaced}&&[\p{L}\p{N}]]\p{M}*|[${spelling}--${unspaced}]+|\p{S}`, 'gv')
}

function fold(text: string): string {
  const seen = text.replace(/\p{Default_Ignorable_Code_Point}+/gu, '').normalize('NFKC')
  // Lower, upper and lower again: ẞ and ß become ss, and the two forms of the Greek sigma one.
  return seen.toLowerCase().toUpperCase().toLowerCase().replaceAll('ς', 'σ').normalize('NFKC')
}
