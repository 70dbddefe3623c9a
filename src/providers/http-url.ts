/** A link of a provider, made absolute and spelled as URLs are; undefined for what is no http or https URL. */
export function httpUrl(text: string, baseUrl: string): string | undefined {
  if (plainUrl.test(text)) return text
  const url = URL.parse(text, baseUrl)
  return url && /^https?:$/.test(url.protocol) ? url.href : undefined
}

/** Those that nearly all providers give, and that parsing them leaves as they are: no port, no dot segments, nothing to escape. */
const plainUrl = /^https?:\/\/(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}\/(?:[\w~-][\w.~-]*(?:\/[\w~-][\w.~-]*)*\/?)?(?:\?[\w.~%=&+:/-]*)?$/
