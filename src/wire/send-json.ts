import type { ServerResponse } from 'node:http'
import type { RequestRecord } from './request-record.ts'

/** Answers with a JSON document. */
export function sendJson(response: ServerResponse, record: RequestRecord, status: number, value: unknown): void {
  sendText(response, record, status, 'application/json', JSON.stringify(value))
}

/** Answers with a text in one piece. */
export function sendText(response: ServerResponse, record: RequestRecord, status: number, contentType: string, text: string): void {
  const body = Buffer.from(text)
  record.bytes += body.length
  response.setHeader('content-type', contentType)
  response.setHeader('content-length', body.length)
  response.writeHead(status)
  response.end(body)
}
