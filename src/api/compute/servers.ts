// Servers: create, list, show, rename, delete. Actions, metadata and what hangs on a server have files of their own.
import { randomBytes } from 'node:crypto';
import { Type } from 'typebox';
import { hostHealth } from '../../control/hosts.ts';
import { type Port, portsOfServer, portsOfServers } from '../../control/network.ts';
import type { Platform } from '../../control/platform.ts';
import { groupIdOf } from '../../control/server-groups.ts';
import { listServers, newestServers, unreachableCells } from '../../control/server-lists.ts';
import { cellDownRefusal, editServer } from '../../control/servers.ts';
import { mappingsInHomes } from '../../control/volumes/devices.ts';
import { checkDescription, checkName } from '../../model/names.ts';
import { canonicalIpv6 } from '../../model/network.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { type Actor, isAdmin, type Server } from '../../model/types.ts';
import { deleteServer } from '../../moves/delete.ts';
import { softDeleteServer } from '../../moves/soft-delete.ts';
import { requireRule } from '../http/auth.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import {
  BASE,
  booleanOf,
  findFor,
  IdParams,
  Links,
  MAX_PAGE,
  markerNotFound,
  nextLink,
  object,
  pageOf,
  pageSize,
  serverFor,
  timeOf,
} from './common.ts';
import { hintsOf } from './scheduler-hints.ts';
import { createServers } from './server-create.ts';
import { type Query, serverTest, sorted } from './server-filters.ts';
import * as schema from './server-schemas.ts';
import {
  renderServer,
  renderServerRef,
  renderUnreachable,
  renderUnreachableWhole,
  serverLinks,
  type View,
} from './server-view.ts';

const pages = { servers_links: Type.Optional(Links) };

export const serverRoutes: readonly Route[] = [
  route({
    method: 'POST',
    url: `${BASE}/servers`,
    service: 'compute',
    summary: 'Create servers',
    policy: 'os_compute_api:servers:create',
    body: schema.CreateBody,
    answers: { 202: schema.CreateAnswer },
    handle: async ({ p, actor, body }) => {
      const wish = body.server as unknown as schema.CreateWish;
      const { serverId, reservationId } = await createServers(p, actor, wish, hintsOf(body));
      const links = serverLinks(p.settings, serverId);
      const location = { location: links[0]?.href ?? '' };
      if (booleanOf(String(wish.return_reservation_id ?? false))) {
        return { status: 202, body: { reservation_id: reservationId }, headers: location };
      }
      const server = {
        id: serverId,
        links,
        // As Nova: answered once and kept nowhere. No guest is told it: see docs/api.md.
        adminPass: wish.adminPass ?? randomBytes(9).toString('base64url'),
        'OS-DCF:diskConfig': wish['OS-DCF:diskConfig'] ?? 'AUTO',
        security_groups: [{ name: 'default' }],
      };
      return { status: 202, body: { server }, headers: location };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/servers`,
    service: 'compute',
    summary: 'List servers',
    policy: 'os_compute_api:servers:index',
    query: schema.ListQuery,
    answers: { 200: object({ servers: Type.Array(schema.ServerRef), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const all = 'os_compute_api:servers:index:get_all_tenants';
      const { page, links, unreachable } = await listed(p, actor, query, request.url, minor, all);
      const servers = [...page.map((each) => renderServerRef(p.settings, each)), ...unreachable];
      return { status: 200, body: { servers, ...links } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/servers/detail`,
    service: 'compute',
    summary: 'List servers with details',
    policy: 'os_compute_api:servers:detail',
    query: schema.ListQuery,
    answers: { 200: object({ servers: Type.Array(schema.Server), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const all = 'os_compute_api:servers:detail:get_all_tenants';
      const { page, links, ports, unreachable } = await listed(p, actor, query, request.url, minor, all);
      const view = await viewOf(p, actor, minor);
      const around =
        ports ??
        (await portsOfServers(
          p.stores.global,
          page.map((each) => each.id),
        ));
      const volumes = await mappingsInHomes(
        p,
        page.map((each) => each.id),
      );
      const servers = page.map((each) => {
        const had = { ports: around.get(each.id) ?? [], volumes: volumes.get(each.id) ?? [] };
        return renderServer(
          view,
          each,
          { ...had, groupId: null, deleteRequested: false, softDeleteRequested: false },
          'list',
        );
      });
      return { status: 200, body: { servers: [...servers, ...unreachable], ...links } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/servers/:id`,
    service: 'compute',
    summary: 'Show a server',
    policy: 'os_compute_api:servers:show',
    params: IdParams,
    answers: { 200: object({ server: schema.Server }) },
    handle: async ({ p, actor, params, minor }) => {
      const found = await findFor(p, actor, params.id);
      if (found.kind === 'down') {
        // From 2.69 on what is known without the cell is shown; see Nova's "handling down cells".
        if (minor < 69) throw errorOf(cellDownRefusal(params.id));
        const group = await groupIdOf(p.stores.global, found.mapping.server_id);
        const server = renderUnreachableWhole(p.settings, found.mapping, minor, group);
        return { status: 200, body: { server } };
      }
      const view = await viewOf(p, actor, minor);
      const ports = await portsOfServer(p.stores.global, found.server.id);
      const groupId = await groupIdOf(p.stores.global, found.server.id);
      const volumes = (await mappingsInHomes(p, [found.server.id])).get(found.server.id) ?? [];
      const { deleteRequested, softDeleteRequested } = found;
      const around = { ports, volumes, groupId, deleteRequested, softDeleteRequested };
      return { status: 200, body: { server: renderServer(view, found.server, around, 'show') } };
    },
  }),
  route({
    method: 'PUT',
    url: `${BASE}/servers/:id`,
    service: 'compute',
    summary: 'Rename or describe a server',
    policy: 'os_compute_api:servers:update',
    params: IdParams,
    body: schema.UpdateBody,
    answers: { 200: object({ server: schema.Server }) },
    handle: async ({ p, actor, params, body, minor }) => {
      await serverFor(p, actor, params.id);
      const {
        'OS-DCF:diskConfig': diskConfig,
        accessIPv4,
        accessIPv6,
        ...rest
      } = body.server as {
        name?: string;
        description?: string | null;
        hostname?: string;
        accessIPv4?: string;
        accessIPv6?: string;
        'OS-DCF:diskConfig'?: 'AUTO' | 'MANUAL';
      };
      const change = {
        ...rest,
        ...(diskConfig === undefined ? {} : { diskConfig }),
        ...(accessIPv4 === undefined ? {} : { accessIpV4: accessIPv4 || null }),
        ...(accessIPv6 === undefined ? {} : { accessIpV6: canonicalIpv6(accessIPv6) || null }),
      };
      if (change.name !== undefined) refuse(checkName(change.name));
      if (change.description) refuse(checkDescription(change.description));
      refuse(await editServer(p, params.id, change));
      const { server, deleteRequested, softDeleteRequested } = await serverFor(p, actor, params.id);
      const ports = await portsOfServer(p.stores.global, server.id);
      const view = await viewOf(p, actor, minor);
      const groupId = await groupIdOf(p.stores.global, server.id);
      const volumes = (await mappingsInHomes(p, [server.id])).get(server.id) ?? [];
      const around = { ports, volumes, groupId, deleteRequested, softDeleteRequested };
      return { status: 200, body: { server: renderServer(view, server, around, 'update') } };
    },
  }),
  route({
    method: 'DELETE',
    url: `${BASE}/servers/:id`,
    service: 'compute',
    summary: 'Delete a server, at any time',
    policy: 'os_compute_api:servers:delete',
    params: IdParams,
    answers: { 204: null },
    handle: async ({ p, actor, params }) => {
      await serverFor(p, actor, params.id);
      const soft = p.settings.reclaimInstanceIntervalSeconds > 0;
      refuse(await (soft ? softDeleteServer : deleteServer)(p, actor, params.id));
      return { status: 204 };
    },
  }),
];

async function viewOf(p: Platform, actor: Actor, minor: number): Promise<View> {
  const admin = p.policies.allows('compute', 'os_compute_api:os-extended-server-attributes', actor);
  const status = minor >= 16 && p.policies.allows('compute', 'os_compute_api:servers:show:host_status', actor);
  const hosts = status ? await hostHealth(p) : null;
  return { settings: p.settings, minor, admin, hosts };
}

interface Listed {
  readonly page: readonly Server[];
  readonly links: object;
  /** Set when the ports had to be read for a filter. */
  readonly ports: Map<string, Port[]> | null;
  /** Servers in cells that are down, as far as they are known. */
  readonly unreachable: readonly object[];
}

async function listed(
  p: Platform,
  actor: Actor,
  query: Query,
  url: string,
  minor: number,
  allProjects: RuleName,
): Promise<Listed> {
  const projectId = projectOf(p, actor, query, allProjects);
  const { page, marker, ports } = await pageFor(p, isAdmin(actor), projectId, query);
  // From 2.69 on the last page of a list without filters ends with what is known of servers in cells that are down.
  const withUnreachable = minor >= 69 && marker === null && !Object.keys(query).some((key) => FILTERS.has(key));
  const unreachable = withUnreachable ? await inDownCells(p, await unreachableCells(p, projectId), projectId) : [];
  return { page, links: nextLink(p.settings, 'servers_links', url, marker), ports, unreachable };
}

/** What only the cells can find or order: then everything that matches is read, whatever the page. */
const NEED_ALL = ['sort_key', 'sort_dir', 'changes-since', 'deleted', 'host', 'ip'] as const;

async function pageFor(
  p: Platform,
  admin: boolean,
  projectId: string | null,
  query: Query,
): Promise<Pick<Listed, 'page' | 'ports'> & { readonly marker: string | null }> {
  const changesSince = timeOf('changes-since', query['changes-since']);
  const changesBefore = timeOf('changes-before', query['changes-before']) ?? Number.POSITIVE_INFINITY;
  const isWanted = serverTest(query, admin);
  const test = (server: Server): boolean => server.updatedAt <= changesBefore && isWanted(server);
  if (NEED_ALL.every((key) => query[key] === undefined)) {
    const size = pageSize(query.limit);
    const list = await newestServers(p, { projectId, marker: query.marker, limit: size + 1, test });
    if (!list) throw markerNotFound(query.marker);
    const page = list.servers.slice(0, size);
    return { page, marker: list.servers.length > size ? (page.at(-1)?.id ?? null) : null, ports: null };
  }
  const { servers } = await listServers(p, {
    projectId,
    ...(admin && query.host !== undefined ? { host: query.host } : {}),
    ...(changesSince === undefined ? {} : { changesSince }),
    ...(admin && booleanOf(query.deleted) === true ? { deleted: true } : {}),
  });
  let matching = servers.filter(test);
  const ports = query.ip === undefined ? null : await portsInBatches(p, matching);
  if (ports) {
    const prefix = (query.ip ?? '').replace(/^\^/, '').replaceAll('\\', '');
    matching = matching.filter((each) => ports.get(each.id)?.some((port) => port.ip.startsWith(prefix)));
  }
  const result = pageOf(sorted(matching, query), (each) => each.id, query);
  if (!result) throw markerNotFound(query.marker);
  return { ...result, ports };
}

const NO_FILTERS = ['limit', 'marker', 'sort_key', 'sort_dir', 'all_tenants', 'project_id', 'tenant_id'];
const FILTERS = new Set(Object.keys(schema.ListQuery.properties).filter((key) => !NO_FILTERS.includes(key)));

async function inDownCells(p: Platform, cellIds: readonly string[], projectId: string | null): Promise<object[]> {
  if (cellIds.length === 0) return [];
  let query = p.stores.global
    .selectFrom('server_mappings')
    .selectAll()
    .where('cell_id', 'in', cellIds)
    .where('deleted_at', 'is', null)
    .where('soft_deleted_at', 'is', null)
    .orderBy('created_at', 'desc')
    .limit(MAX_PAGE);
  if (projectId !== null) query = query.where('project_id', '=', projectId);
  return (await query.execute()).map((mapping) => renderUnreachable(p.settings, mapping));
}

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
function projectOf(p: Platform, actor: Actor, query: Query, rule: RuleName): string | null {
  const all = query.all_tenants !== undefined && booleanOf(query.all_tenants) !== false;
  if (!all) return actor.projectId;
  requireRule(p, 'compute', actor, rule);
  return query.project_id ?? query.tenant_id ?? null;
}
