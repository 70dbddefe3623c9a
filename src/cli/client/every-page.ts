/** Reads a list to its end. */
export async function everyPage<Page extends { nextPageToken: string }, Entry>(
  read: (page: { pageSize: number; pageToken: string }) => Promise<Page>,
  entriesOf: (page: Page) => readonly Entry[]
): Promise<Entry[]> {
  const entries: Entry[] = []
  let pageToken = ''
  do {
    const page = await read({ pageSize: 100, pageToken })
    entries.push(...entriesOf(page))
    pageToken = page.nextPageToken
  } while (pageToken !== '')
  return entries
}
