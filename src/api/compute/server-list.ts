// Which servers a list shows: by filters, in an order, page by page.
//
// What the mappings of servers alone can tell (newest first, a page of it) is read no further than the page; what only the
// cells can find or order is read whole. From 2.69 on the servers of a cell that is down have their places among the newest;
// they have none where something is filtered or sorted (nova/api/openstack/compute/servers.py:_is_cell_down_supported).
// Nova leaves them out of pages, too: here whoever pages sees them.
import { type Port, portsOfServers } from '../../control/network.ts';
import type { Platform } from '../../control/platform.ts';
import { type Entry, listServers, markerServer, newestFirst, newestServers } from '../../control/server-lists.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { type Actor, isAdmin, type Server } from '../../model/types.ts';
import { requireRule } from '../http/auth.ts';
import { markerNotFound, nextLink, pageOf, pageSize } from './common.ts';
import { addressTest, type Query, serverTest, sorted } from './server-filters.ts';
import { type Wish, wishOf } from './server-query.ts';
import * as schema from './server-schemas.ts';

export interface Listed {
  readonly page: readonly Entry[];
  readonly links: object;
  /** Set when the ports had to be read for a filter. */
  readonly ports: Map<string, Port[]> | null;
}

/** A page of the servers that the query asks for. */
export async function listed(
  p: Platform,
  actor: Actor,
  query: Query,
  url: string,
  minor: number,
  allProjects: RuleName,
): Promise<Listed> {
  const allFilters = p.policies.allows('compute', 'os_compute_api:servers:allow_all_filters', actor);
  const wish = wishOf(query, { minor, admin: isAdmin(actor), allFilters });
  const projectId = projectOf(p, actor, wish, allProjects);
  const unreachable = minor >= 69 && !Object.keys(query).some((key) => FILTERS.has(key));
  const { page, marker, ports } = await pageFor(p, projectId, wish, unreachable);
  return { page, links: nextLink(p.settings, 'servers_links', url, marker), ports };
}

/** What only the cells can find or order: then everything that matches is read, whatever the page. */
const NEED_ALL = ['sort_key', 'sort_dir', 'host', 'ip', 'ip6'] as const;

async function pageFor(
  p: Platform,
  projectId: string | null,
  wish: Wish,
  unreachable: boolean,
): Promise<Pick<Listed, 'page' | 'ports'> & { readonly marker: string | null }> {
  const { query, changesSince, changesBefore, gone, softDeleted } = wish;
  const test = serverTest(wish);
  const plain = gone === null && softDeleted !== true && changesSince === undefined && changesBefore === undefined;
  if (plain && NEED_ALL.every((key) => query[key] === undefined)) {
    const size = pageSize(query.limit);
    const list = await newestServers(p, { projectId, marker: query.marker, limit: size + 1, test, unreachable });
    if (!list) throw markerNotFound(query.marker);
    const page = list.slice(0, size);
    const marker = list.length > size ? (page.at(-1)?.id ?? null) : null;
    return { page, marker, ports: null };
  }
  const { servers } = await listServers(p, {
    projectId,
    ...(query.host === undefined ? {} : { host: query.host }),
    ...(changesSince === undefined ? {} : { changesSince }),
    ...(gone === null ? {} : { gone }),
    ...(softDeleted === undefined ? {} : { softDeleted }),
  });
  let matching = servers.filter(test);
  const hasAddress = addressTest(query);
  const ports = hasAddress === null ? null : await portsInBatches(p, matching);
  if (ports && hasAddress) {
    const addresses = (each: Server) => (ports.get(each.id) ?? []).flatMap((port) => port.fixedIps.map(({ ip }) => ip));
    matching = matching.filter((each) => addresses(each).some(hasAddress));
  }
  const result = pageOf(sorted(await withMarker(p, projectId, matching, query), query), (each) => each.id, query);
  if (!result) throw markerNotFound(query.marker);
  const page = result.page.map((server) => ({ kind: 'server', id: server.id, server }) as const);
  return { page, marker: result.marker, ports };
}

/** With the server that the page begins behind, which need not match. @throws ApiError 400 */
async function withMarker(
  p: Platform,
  projectId: string | null,
  matching: readonly Server[],
  { marker }: Query,
): Promise<readonly Server[]> {
  if (marker === undefined || matching.some(({ id }) => id === marker)) return matching;
  const server = await markerServer(p, projectId, marker);
  if (!server) throw markerNotFound(marker);
  return [...matching, server].toSorted(newestFirst);
}

const NO_FILTERS = ['limit', 'marker', 'all_tenants', 'project_id', 'tenant_id'];
const FILTERS = new Set(Object.keys(schema.ListQuery.properties).filter((key) => !NO_FILTERS.includes(key)));

const PORTS_BATCH = 1000;

async function portsInBatches(p: Platform, servers: readonly Server[]): Promise<Map<string, Port[]>> {
  const all = new Map<string, Port[]>();
  for (let start = 0; start < servers.length; start += PORTS_BATCH) {
    const ids = servers.slice(start, start + PORTS_BATCH).map((each) => each.id);
    for (const [id, ports] of await portsOfServers(p.stores.global, ids)) all.set(id, ports);
  }
  return all;
}

/** Null: servers of all projects. */
function projectOf(p: Platform, actor: Actor, { query, allProjects }: Wish, rule: RuleName): string | null {
  if (!allProjects) return actor.projectId;
  requireRule(p, 'compute', actor, rule);
  return query.project_id ?? query.tenant_id ?? null;
}
