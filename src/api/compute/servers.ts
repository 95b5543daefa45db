// Servers: create, list, show, rename, delete. Actions, metadata and what hangs on a server have files of their own.
import { randomBytes } from 'node:crypto';
import { Type } from 'typebox';
import { hostHealth } from '../../control/hosts.ts';
import { floatingIpsOfServers } from '../../control/network/server-networks.ts';
import { networkService } from '../../control/network/service.ts';
import { portsOfServer, portsOfServers } from '../../control/network.ts';
import type { Platform } from '../../control/platform.ts';
import { groupIdOf } from '../../control/server-groups.ts';
import { cellDownRefusal, editServer } from '../../control/servers.ts';
import { mappingsInHomes } from '../../control/volumes/devices.ts';
import { checkDescription, checkName } from '../../model/names.ts';
import { canonicalIpv6 } from '../../model/network.ts';
import type { Actor, Server } from '../../model/types.ts';
import { deleteServer } from '../../moves/delete.ts';
import { softDeleteServer } from '../../moves/soft-delete.ts';
import { errorOf, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, booleanOf, findFor, IdParams, Links, object, serverFor } from './common.ts';
import { hintsOf } from './scheduler-hints.ts';
import { createServers } from './server-create.ts';
import { listed } from './server-list.ts';
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
    tells: ['location'],
    handle: async ({ p, actor, body, minor }) => {
      const wish = body.server as unknown as schema.CreateWish;
      const { serverId, reservationId } = await createServers(p, actor, wish, hintsOf(body), minor);
      if (booleanOf(String(wish.return_reservation_id ?? false))) {
        return { status: 202, body: { reservation_id: reservationId } };
      }
      const links = serverLinks(p.settings, serverId);
      const server = {
        id: serverId,
        links,
        // As Nova: answered once and kept nowhere. No guest is told it: see docs/api.md.
        adminPass: wish.adminPass ?? randomBytes(9).toString('base64url'),
        'OS-DCF:diskConfig': wish['OS-DCF:diskConfig'] ?? 'AUTO',
        security_groups: wish.security_groups ?? [{ name: 'default' }],
      };
      return { status: 202, body: { server }, headers: { location: links[0]?.href ?? '' } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/servers`,
    service: 'compute',
    summary: 'List servers',
    policy: 'os_compute_api:servers:index',
    query: schema.ListQuery,
    lastOfRepeated: true,
    answers: { 200: object({ servers: Type.Array(schema.ServerRef), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const all = 'os_compute_api:servers:index:get_all_tenants';
      const { page, links } = await listed(p, actor, query, request.url, minor, all);
      const servers = page.map((each) =>
        each.kind === 'server' ? renderServerRef(p.settings, each.server) : renderUnreachable(p.settings, each.home),
      );
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
    lastOfRepeated: true,
    answers: { 200: object({ servers: Type.Array(schema.Server), ...pages }) },
    handle: async ({ p, actor, query, minor, request }) => {
      const all = 'os_compute_api:servers:detail:get_all_tenants';
      const { page, links, ports } = await listed(p, actor, query, request.url, minor, all);
      const view = await viewOf(p, actor, minor);
      const ids = page.flatMap((each) => (each.kind === 'server' ? [each.id] : []));
      const around = ports ?? (await portsOfServers(p.stores.global, ids));
      const volumes = await mappingsInHomes(p, ids);
      const floating = await floatingIpsOfServers(p.stores.global, ids);
      const groups = await networkService(p).groupNames(p, actor, ids);
      const servers = page.map((each) => {
        if (each.kind === 'unreachable') return renderUnreachable(p.settings, each.home);
        const had = {
          ...{ ports: around.get(each.id) ?? [], volumes: volumes.get(each.id) ?? [] },
          ...{ floatingIps: floating.get(each.id) ?? [], securityGroups: groups.get(each.id) ?? [] },
        };
        return renderServer(
          view,
          each.server,
          { ...had, groupId: null, deleteRequested: false, softDeleteRequested: false },
          'list',
        );
      });
      return { status: 200, body: { servers, ...links } };
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
        const view = { settings: p.settings, minor, extraSpecs: showsExtraSpecs(p, actor) };
        const server = renderUnreachableWhole(view, found.mapping, group);
        return { status: 200, body: { server } };
      }
      const view = await viewOf(p, actor, minor);
      const networks = await networksOf(p, actor, found.server.id);
      const groupId = await groupIdOf(p.stores.global, found.server.id);
      const volumes = (await mappingsInHomes(p, [found.server.id])).get(found.server.id) ?? [];
      const { deleteRequested, softDeleteRequested } = found;
      const around = { ...networks, volumes, groupId, deleteRequested, softDeleteRequested };
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
      const { view } = await changedServer(p, actor, minor, params.id);
      return { status: 200, body: { server: view } };
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

/** A server's ports and what hangs on them. */
async function networksOf(p: Platform, actor: Actor, serverId: string) {
  const { global } = p.stores;
  return {
    ports: await portsOfServer(global, serverId),
    floatingIps: (await floatingIpsOfServers(global, [serverId])).get(serverId) ?? [],
    securityGroups: (await networkService(p).groupNames(p, actor, [serverId])).get(serverId) ?? [],
  };
}

/** The server as the answer to a change shows it. @throws ApiError 404, 503 */
export async function changedServer(
  p: Platform,
  actor: Actor,
  minor: number,
  serverId: string,
): Promise<{ readonly server: Server; readonly view: object }> {
  const { server, deleteRequested, softDeleteRequested } = await serverFor(p, actor, serverId);
  const networks = await networksOf(p, actor, server.id);
  const view = await viewOf(p, actor, minor);
  const groupId = await groupIdOf(p.stores.global, server.id);
  const volumes = (await mappingsInHomes(p, [server.id])).get(server.id) ?? [];
  const around = { ...networks, volumes, groupId, deleteRequested, softDeleteRequested };
  return { server, view: renderServer(view, server, around, 'update') };
}

async function viewOf(p: Platform, actor: Actor, minor: number): Promise<View> {
  const admin = p.policies.allows('compute', 'os_compute_api:os-extended-server-attributes', actor);
  const status = p.policies.allows('compute', 'os_compute_api:servers:show:host_status', actor);
  const unknown = p.policies.allows('compute', 'os_compute_api:servers:show:host_status:unknown-only', actor);
  const hosts = minor >= 16 && (status || unknown) ? await hostHealth(p) : null;
  return {
    ...{ settings: p.settings, minor, admin, extraSpecs: showsExtraSpecs(p, actor) },
    ...{ hosts, unknownHostsOnly: !status },
  };
}

const showsExtraSpecs = (p: Platform, actor: Actor): boolean =>
  p.policies.allows('compute', 'os_compute_api:servers:show:flavor-extra-specs', actor);
