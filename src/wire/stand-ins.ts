import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { type Pieces, sizeOf } from './pieces.ts'

/**
 * Lets messages that are encoded already pass by the RPC library, which would copy their bytes five times: a small message goes through
 * it in their place, with headers, trailers and errors as ever, and is replaced on its way out.
 */
export interface StandIns {
  /** The message to give to the library in the place of an encoded one. */
  standFor<Desc extends DescMessage>(schema: Desc, encoded: Pieces): MessageShape<Desc>
  /** What to send for a chunk that the library gave: the chunk, or, where it holds a stand-in, what that stood for, in its envelope. */
  replace(chunk: Uint8Array): Pieces
}

export function createStandIns(): StandIns {
  const waiting: Pieces[] = []
  return {
    standFor(schema, encoded) {
      waiting.push(encoded)
      const message = create(schema)
      message.$unknown = [{ no: markNumber, wireType: WireType.Varint, data: markValue }]
      return message
    },
    replace(chunk) {
      const envelopeBytes = chunk.length - mark.length
      if ((envelopeBytes !== 0 && envelopeBytes !== 5) || mark.compare(chunk, envelopeBytes) !== 0) return [chunk]
      const encoded = waiting.shift()
      if (!encoded) throw new Error('an answer holds a stand-in for nothing')
      if (envelopeBytes === 0) return encoded
      const envelope = Buffer.alloc(5)
      envelope.writeUInt32BE(sizeOf(encoded), 1)
      return [envelope, ...encoded]
    }
  }
}

/** The last of all field numbers, which no message here uses. */
const markNumber = 536_870_911
const markValue = Uint8Array.of(1)
const mark = Buffer.from(new BinaryWriter().tag(markNumber, WireType.Varint).raw(markValue).finish())
