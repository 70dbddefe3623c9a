import fc from 'fast-check'
import { expect, test } from 'vitest'
import { httpUrl } from '../../src/providers/http-url.ts'

const base = 'https://api.example.com/v1'

test('gives the URL that parsing gives, for everything like what providers send', () => {
  const host = fc.stringMatching(/^[a-z0-9]{1,3}(-{1,2}[a-z0-9]{1,4})?(\.[a-z0-9-]{1,5}){0,3}(\.com|\.1|\.0x1|\.c|)$/)
  const rest = fc.stringMatching(/^(:80|:443|)(\/[a-zA-Z0-9._~%-]{0,4}){0,4}(\?[a-z0-9=&%+:/ '"#é-]{0,6}|#x|)$/)
  fc.assert(
    fc.property(fc.constantFrom('https://', 'http://', 'HTTPS://', 'ftp://', '//', '/'), host, rest, (scheme, name, path) => {
      const url = URL.parse(`${scheme}${name}${path}`, base)
      const expected = url && /^https?:$/.test(url.protocol) ? url.href : undefined
      expect(httpUrl(`${scheme}${name}${path}`, base)).toBe(expected)
    }),
    { numRuns: 5_000 }
  )
})

test.each([
  [
    'https://images.example.com/a_b/c-1.png?sig=a%2Fb&se=2026-01-01T00:00:00Z',
    'https://images.example.com/a_b/c-1.png?sig=a%2Fb&se=2026-01-01T00:00:00Z'
  ],
  ['https://images.example.com', 'https://images.example.com/'],
  ['https://images.example.com/a/../b', 'https://images.example.com/b'],
  ['https://images.example.com/%2e%2e/b', 'https://images.example.com/b'],
  ['https://127.1/a', 'https://127.0.0.1/a'],
  ['/files/a.png', 'https://api.example.com/files/a.png'],
  ['ftp://images.example.com/a', undefined],
  ['https://', undefined]
])('reads %s as %s', (text, url) => {
  expect(httpUrl(text, base)).toBe(url)
})
