import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf'

/** The message that `create` makes without fields, for proto3. It is copied from one that was made before, which costs a small part of that. */
export function zeroMessage<Desc extends DescMessage>(type: Desc): MessageShape<Desc> {
  const { fields, containers } = zeroOf(type)
  const message: Record<string, unknown> = { ...fields }
  for (const [name, container] of containers) message[name] = Array.isArray(container) ? [] : { ...container }
  return message as unknown as MessageShape<Desc>
}

interface Zero {
  fields: Readonly<Record<string, unknown>>
  /** The lists, maps and oneofs among them: each message has its own. */
  containers: readonly [name: string, container: object][]
}

const zeros = new WeakMap<DescMessage, Zero>()

function zeroOf(type: DescMessage): Zero {
  let zero = zeros.get(type)
  if (!zero) {
    const entries: [string, unknown][] = Object.entries(create(type))
    const isContainer = (entry: [string, unknown]): entry is [string, object] =>
      typeof entry[1] === 'object' && entry[1] !== null && !(entry[1] instanceof Uint8Array)
    zero = { fields: Object.fromEntries(entries), containers: entries.filter(isContainer) }
    zeros.set(type, zero)
  }
  return zero
}
