/** Finds which of many texts a text holds, in one pass over it (Aho and Corasick's automaton). */
export interface TextFinder<Value> {
  /** The values of every text that this one holds; each once for each of its places in the automaton. */
  find(text: string): Value[]
}

/** Takes texts of at least one character, each with a value. Several may have the same text. */
export function createTextFinder<Value>(entries: Iterable<readonly [text: string, value: Value]>): TextFinder<Value> {
  const root: Node<Value> = createNode()
  for (const [text, value] of entries) {
    let node = root
    for (let at = 0; at < text.length; at++) node = childOf(node, text.charCodeAt(at))
    node.values.push(value)
  }
  linkFailures(root)

  return {
    find(text) {
      const found: Value[] = []
      const visited = new Set<Node<Value>>()
      let node = root
      for (let at = 0; at < text.length; at++) {
        node = follow(node, text.charCodeAt(at), root)
        // What ends here besides has been seen with the first node of the chain that has.
        for (let ending: Node<Value> | undefined = node; ending !== undefined && !visited.has(ending); ending = ending.shorter) {
          visited.add(ending)
          found.push(...ending.values)
        }
      }
      return found
    }
  }
}

interface Node<Value> {
  children: Map<number, Node<Value>>
  values: Value[]
  /** Where to go on when no child fits: the longest end of this text that is a beginning too. */
  failure: Node<Value> | undefined
  /** The nearest node on the way over failures that has values. */
  shorter: Node<Value> | undefined
}

function createNode<Value>(): Node<Value> {
  return { children: new Map(), values: [], failure: undefined, shorter: undefined }
}

function childOf<Value>(node: Node<Value>, unit: number): Node<Value> {
  const child = node.children.get(unit) ?? createNode<Value>()
  node.children.set(unit, child)
  return child
}

/** Level by level, because a failure leads to a shorter text. */
function linkFailures<Value>(root: Node<Value>): void {
  let level = [root]
  while (level.length > 0) {
    const below: Node<Value>[] = []
    for (const node of level) {
      for (const [unit, child] of node.children) {
        const failure = node.failure === undefined ? root : follow(node.failure, unit, root)
        child.failure = failure
        child.shorter = failure.values.length > 0 ? failure : failure.shorter
        below.push(child)
      }
    }
    level = below
  }
}

function follow<Value>(from: Node<Value>, unit: number, root: Node<Value>): Node<Value> {
  for (let node: Node<Value> | undefined = from; node !== undefined; node = node.failure) {
    const child = node.children.get(unit)
    if (child !== undefined) return child
  }
  return root
}
