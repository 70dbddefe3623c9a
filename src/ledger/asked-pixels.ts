import type { Order } from './estimate.ts'
import { imageChoices } from './image-choices.ts'

/** Width by height of each image of an order; undefined where the model chooses, or makes what is not known in pixels. */
export function askedPixels({ request, capabilities }: Pick<Order, 'request' | 'capabilities'>): number | undefined {
  const counts = new Set(imageChoices(request, capabilities).map(({ size }) => size && size.width * size.height))
  const [count] = counts
  return counts.size === 1 ? count : undefined
}
