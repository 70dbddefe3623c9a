import type { Cost } from '../../gen/atelier/v1/image_pb.ts'
import { mapEvents } from '../events/event-iterators.ts'
import type { GenerationEvent } from '../events.ts'
import type { Ending } from './actual-cost.ts'

/** What is known of the money at the end, given the number of delivered images. */
export type CostOf = (delivered: number, ending: Ending) => Cost | undefined

/** The same events, with what `costOf` makes of the ending as the cost in `completed`, and whatever else is to be told there. */
export function withCost<Event extends GenerationEvent>(
  events: AsyncIterable<Event>,
  costOf: CostOf,
  more?: () => Partial<Extract<GenerationEvent, { kind: 'completed' }>>
): AsyncIterable<Event> {
  let delivered = 0
  return mapEvents(events, (event) => {
    if (event.kind === 'image') delivered += 1
    if (event.kind !== 'completed') return event
    const cost = costOf(delivered, event)
    return Object.assign({ ...event }, more?.(), cost && { cost })
  })
}
