import { gatewayError } from '../errors.ts'
import type { RestRoute } from './rest-route.ts'

/** The routes of one path. */
export interface FoundRoutes {
  path: string
  routes: readonly RestRoute[]
  /** What stood for `{id}`, or followed the prefix, as it was sent. */
  rest: string
}

/** Finds the routes of a path; undefined where there are none. A path that is written out goes before one with `{id}`. */
export function createRouteTable(all: readonly RestRoute[]): (pathname: string) => FoundRoutes | undefined {
  const paths = [...Map.groupBy(all, ({ path }) => path)]
  const exact = new Map(paths.filter(([path]) => !isPattern(path)))
  const patterns = paths.filter(([path]) => isPattern(path)).map(([path, routes]) => ({ path, routes, pattern: toPattern(path) }))
  return (pathname) => {
    const written = exact.get(pathname)
    if (written) return { path: pathname, routes: written, rest: '' }
    for (const { path, routes, pattern } of patterns) {
      const rest = pattern.exec(pathname)?.[1]
      if (rest !== undefined) return { path, routes, rest }
    }
    return undefined
  }
}

/** The route among those of a path that takes the method. Throws METHOD_NOT_ALLOWED, naming those that are taken. */
export function routeFor({ path, routes }: FoundRoutes, method: string): RestRoute {
  const route = routes.find(({ methods }) => methods.includes(method))
  if (route) return route
  throw gatewayError('METHOD_NOT_ALLOWED', { method, path, allowed: routes.flatMap(({ methods }) => methods).join(', ') })
}

function isPattern(path: string): boolean {
  return path.endsWith('/') || path.includes('{id}')
}

function toPattern(path: string): RegExp {
  return new RegExp(path.endsWith('/') ? `^${path}(.+)$` : `^${path.replace('{id}', '([^/]+)')}$`, 's')
}
