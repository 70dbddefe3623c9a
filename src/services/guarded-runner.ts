import type { Call } from '../call.ts'
import { openEvents, untilOver } from '../events/event-iterators.ts'
import type { PlannedRun } from '../tasks/run-order.ts'
import type { Runner, TaskRunner } from '../tasks/runner.ts'

/** Decides whether a planned request may be run. */
export interface Gate {
  /**
   * Throws what refuses the request, before anything is recorded or sent. Resolves, or returns at once, where nothing does. What it gives back
   * is called when a request whose caller waits is over.
   */
  enter(planned: PlannedRun, call: Call): undefined | Leave | Promise<undefined | Leave>
}

export type Leave = () => void

/** A runner that lets every gate decide first, in their order. What is refused is disposed of. */
export function createGuardedRunner<Guarded extends Runner | TaskRunner>(gates: readonly Gate[], runner: Guarded): Guarded {
  const guarded: Runner = {
    run(order, call) {
      let leave: Leave | undefined
      const begin = () => {
        const passed = pass(order, call)
        if (passed instanceof Promise) {
          return openEvents(async () => {
            leave = await passed
            return runner.run(order, call)
          })
        }
        leave = passed
        return runner.run(order, call)
      }
      return untilOver(begin, () => leave?.())
    }
  }
  if (!('submit' in runner)) return { ...runner, ...guarded }
  const submit: TaskRunner['submit'] = async (order, record, call) => {
    const leave = await pass(order, call)
    leave()
    return runner.submit(order, record, call)
  }
  return { ...runner, ...guarded, submit }

  /** Returns what leaves every gate; at once where no gate has to wait for anything. */
  function pass(order: PlannedRun, call: Call): Leave | Promise<Leave> {
    const leaves: (Leave | undefined)[] = []
    const leaveAll = () => {
      for (const leave of leaves) leave?.()
    }
    const refuse = async (error: unknown): Promise<never> => {
      leaveAll()
      await order[Symbol.asyncDispose]()
      throw error
    }
    const enterFrom = (first: number): Leave | Promise<Leave> => {
      for (let index = first; index < gates.length; index++) {
        const entered = gates[index]?.enter(order, call)
        if (entered instanceof Promise) {
          return entered.then((leave) => {
            leaves.push(leave)
            return enterFrom(index + 1)
          })
        }
        if (entered) leaves.push(entered)
      }
      return leaveAll
    }
    try {
      const entered = enterFrom(0)
      return entered instanceof Promise ? entered.catch(refuse) : entered
    } catch (error) {
      return refuse(error)
    }
  }
}
