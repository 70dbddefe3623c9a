/** One image on its way through. It is read once, chunk by chunk, in the form that the reader needs. */
export interface ImageBody {
  /** As the source states it; empty where it does not say. */
  readonly mediaType: string
  /** The form in which the source delivers: reading in that form converts nothing. */
  readonly form: 'bytes' | 'base64'
  /**
   * The image as bytes, or as base64 text in ASCII without line breaks. May be called once; a second call throws. Leaving the iteration
   * early releases the source.
   */
  read(as: 'bytes' | 'base64'): AsyncIterable<Uint8Array>
}

/** An image that is kept somewhere and can be read any number of times. */
export interface StoredImage {
  readonly mediaType: string
  readonly sizeBytes: number
  open(): ImageBody
}
