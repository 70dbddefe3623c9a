// The function that seed 001's snippets call.
export interface ImagesResponse {
  created: number
  data: { url?: string; b64_json?: string; revised_prompt?: string }[]
}

export async function createImage(request: Record<string, unknown>): Promise<ImagesResponse> {
  const response = await fetch(`${process.env.ATELIER_URL ?? 'http://127.0.0.1:8080'}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${process.env.ATELIER_API_KEY}` },
    body: JSON.stringify(request)
  })
  if (!response.ok) throw new Error(await response.text())
  return (await response.json()) as ImagesResponse
}
