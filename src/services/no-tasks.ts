import { gatewayError } from '../errors.ts'
import type { Tasks } from './tasks.ts'

/** Stands for the tasks of a server that keeps none. */
export function createNoTasks(): Tasks {
  const refuse = () => {
    throw gatewayError('TASK_NOT_FOUND', {})
  }
  return {
    async createTask({ callbackUrl }) {
      throw gatewayError('TASKS_UNAVAILABLE', { param: callbackUrl === '' ? 'an asynchronous request' : 'callback_url' })
    },
    getTask: async () => refuse(),
    listTasks: async () => {
      throw gatewayError('TASKS_UNAVAILABLE', { param: 'a list of tasks' })
    },
    findTasks: async () => {
      throw gatewayError('TASKS_UNAVAILABLE', { param: 'a list of tasks' })
    },
    cancelTask: async () => refuse(),
    watchTask: refuse,
    redeliverCallback: async () => refuse()
  }
}
