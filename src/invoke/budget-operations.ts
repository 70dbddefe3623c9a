import { BudgetService } from '../../gen/atelier/v1/budget_service_pb.ts'
import type { BudgetAdministration } from '../services/budgets.ts'
import { type AdministeredService, administer } from './administer.ts'

/** Every operation of BudgetService. */
export function createBudgetOperations(budgets: BudgetAdministration): AdministeredService {
  return administer(BudgetService, {
    async setBudget(request, note) {
      const { case: kind, value } = request.subject?.subject ?? {}
      note(kind === 'organizationId' ? { organization: value } : kind === 'apiKeyId' ? { apiKey: value } : {})
      const budget = await budgets.set(request)
      note({ budget: budget.id })
      return { budget }
    },
    async getBudget(request, note) {
      note({ budget: request.id })
      return { budget: await budgets.get(request) }
    },
    async listBudgets(request, note) {
      note({ organization: request.organizationId || undefined })
      return budgets.list(request)
    },
    async deleteBudget(request, note) {
      note({ budget: request.id })
      await budgets.delete(request)
      return {}
    }
  })
}
