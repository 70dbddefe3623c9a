/** A key for one purpose, made of a master key. */
export interface DerivedKey {
  /** Eight hexadecimal digits that name the master key and say nothing about it. */
  keyId: string
  /** 32 bytes. */
  key: Uint8Array
}

/** The keys of every master key for one purpose: the current one first, then the previous ones in their order. */
export type DerivedKeys = readonly [DerivedKey, ...DerivedKey[]]

/** Keys, or where they are looked up at every use because they may change; the same array then means the same keys. */
export type KeySource = DerivedKeys | (() => DerivedKeys)

/** Reads what is made of the keys, which is made anew where they have changed. */
export function prepareKeys<Prepared>(source: KeySource, prepare: (keys: DerivedKeys) => Prepared): () => Prepared {
  const read = typeof source === 'function' ? source : () => source
  let keys = read()
  let prepared = prepare(keys)
  return () => {
    const latest = read()
    if (latest !== keys) {
      prepared = prepare(latest)
      keys = latest
    }
    return prepared
  }
}
