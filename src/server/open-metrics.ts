import type { Catalog } from '../../gen/atelier/v1/catalog_pb.ts'
import type { Settings } from '../config.ts'
import type { Database } from '../storage/database.ts'
import { readBacklog } from '../tasks/store/read-backlog.ts'
import { createMetrics } from '../wire/metrics.ts'

/** The metrics of a server with these settings. */
export function openMetrics({ providers, tasks }: Settings, { catalog, database }: { catalog: readonly Catalog[]; database: Database }) {
  const known = catalog.flatMap(({ models }) => models.map(({ name }) => name))
  const configured = providers.flatMap(({ models, deployments = {} }) => [...models, ...Object.keys(deployments)])
  const backlog = () => readBacklog(database, Date.now())
  return createMetrics({ models: new Set([...known, ...configured]), ...(tasks === 'on' && { backlog }) })
}
