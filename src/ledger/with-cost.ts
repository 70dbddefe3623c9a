import type { Cost } from '../../gen/atelier/v1/image_pb.ts'
import { mapEvents } from '../events/event-iterators.ts'
import type { GenerationEvent } from '../events.ts'
import type { Ending } from './actual-cost.ts'

/** The same events, with what `costOf` makes of the ending and of the number of delivered images as the cost in `completed`. */
export function withCost<Event extends GenerationEvent>(
  events: AsyncIterable<Event>,
  costOf: (delivered: number, ending: Ending) => Cost | undefined
): AsyncIterable<Event> {
  let delivered = 0
  return mapEvents(events, (event) => {
    if (event.kind === 'image') delivered += 1
    const cost = event.kind === 'completed' ? costOf(delivered, event) : undefined
    return cost ? { ...event, cost } : event
  })
}
