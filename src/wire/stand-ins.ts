import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { type Pieces, sizeOf } from './pieces.ts'

/**
 * Lets messages that are encoded already pass by the RPC library, which would copy their bytes five times: a small message goes through
 * it in their place, with headers, trailers and errors as ever, and is replaced on its way out.
 */
export interface StandIns {
  /** The message to give to the library in the place of an encoded one, whose pieces may be given away to whoever sends it. */
  standFor<Desc extends DescMessage>(schema: Desc, encoded: Pieces, areGivenAway: boolean): MessageShape<Desc>
  /** What to send for a chunk that the library gave: the chunk, or, where it holds a stand-in, what that stood for, in its envelope. */
  replace(chunk: Uint8Array): Outgoing
}

export interface Outgoing {
  pieces: Pieces
  /** Whether nobody else holds them, so that who has sent them may free them. */
  areGivenAway: boolean
}

export function createStandIns(): StandIns {
  const waiting: Outgoing[] = []
  return {
    standFor(schema, encoded, areGivenAway) {
      waiting.push({ pieces: encoded, areGivenAway })
      const message = create(schema)
      message.$unknown = [{ no: markNumber, wireType: WireType.Varint, data: markValue }]
      return message
    },
    replace(chunk) {
      const envelopeBytes = chunk.length - mark.length
      if ((envelopeBytes !== 0 && envelopeBytes !== 5) || mark.compare(chunk, envelopeBytes) !== 0) return asItIs(chunk)
      const encoded = waiting.shift()
      if (!encoded) throw new Error('an answer holds a stand-in for nothing')
      if (envelopeBytes === 0) return encoded
      const envelope = Buffer.alloc(5)
      envelope.writeUInt32BE(sizeOf(encoded.pieces), 1)
      return { ...encoded, pieces: [envelope, ...encoded.pieces] }
    }
  }
}

/** To be sent as it came from somebody who may go on holding it. */
export function asItIs(chunk: Uint8Array): Outgoing {
  return { pieces: [chunk], areGivenAway: false }
}

/** The last of all field numbers, which no message here uses. */
const markNumber = 536_870_911
const markValue = Uint8Array.of(1)
const mark = Buffer.from(new BinaryWriter().tag(markNumber, WireType.Varint).raw(markValue).finish())
