// os-hosts, which Nova took away with 2.43: compute hosts by name. They can be enabled and disabled; maintenance mode and
// power are nothing that hosts here have, which is said with 501, as Nova says it for such drivers.
import { Type } from 'typebox';
import { type HostRecord, listHosts, updateService } from '../../control/hosts.ts';
import type { Platform } from '../../control/platform.ts';
import { listServers } from '../../control/server-lists.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import type { Server } from '../../model/types.ts';
import { ApiError, notFound, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, IdParams, object, text } from './common.ts';

const HOST = `${BASE}/os-hosts/:id`;
const shared = { service: 'compute', until: 42 } as const;
const Switch = Type.Optional(Type.Enum(['enable', 'disable', 'Enable', 'Disable', 'ENABLE', 'DISABLE']));
const Resource = object({
  resource: object({
    host: text(),
    project: text(),
    cpu: Type.Integer(),
    memory_mb: Type.Integer(),
    disk_gb: Type.Integer(),
  }),
});

/** GET, although it would change something: Nova's way. */
const power = (action: string, policy: RuleName): Route =>
  route({
    ...{ ...shared, method: 'GET', url: `${HOST}/${action}`, summary: `Ask a host for its ${action}: 501` },
    policy,
    params: IdParams,
    answers: { 501: null },
    handle: async ({ p, params }) => {
      await hostNamed(p, params.id);
      throw unsupported();
    },
  });

export const hostRoutes: readonly Route[] = [
  route({
    ...{ ...shared, method: 'GET', url: `${BASE}/os-hosts`, summary: 'List compute hosts that are enabled' },
    policy: 'os_compute_api:os-hosts:list',
    query: object({ zone: Type.Optional(text()) }),
    answers: { 200: object({ hosts: Type.Array(object({ host_name: text(), service: text(), zone: text() })) }) },
    handle: async ({ p, query }) => {
      const hosts = (await listHosts(p))
        .filter((host) => !host.disabled && (!query.zone || host.zone === query.zone))
        .map((host) => ({ host_name: host.name, service: 'compute', zone: host.zone }));
      return { status: 200, body: { hosts } };
    },
  }),
  route({
    ...{ ...shared, method: 'GET', url: HOST, summary: 'Show what a host has and what projects use of it' },
    policy: 'os_compute_api:os-hosts:show',
    params: IdParams,
    answers: { 200: object({ host: Type.Array(Resource) }) },
    handle: async ({ p, params }) => {
      const host = await hostNamed(p, params.id);
      const { servers } = await listServers(p, { projectId: null, host: host.name });
      const byProject = Map.groupBy(servers, (each) => each.projectId);
      const resources = [
        line(host.name, '(total)', host.vcpus, host.memoryMb, host.diskGb),
        line(host.name, '(used_now)', host.vcpusUsed, host.memoryMbUsed, host.diskGbUsed),
        flavors(host.name, '(used_max)', servers),
        ...[...byProject].map(([project, those]) => flavors(host.name, project, those)),
      ];
      return { status: 200, body: { host: resources } };
    },
  }),
  route({
    ...{ ...shared, method: 'PUT', url: HOST, summary: 'Enable or disable a host' },
    policy: 'os_compute_api:os-hosts:update',
    params: IdParams,
    body: Type.Object({ status: Switch, maintenance_mode: Switch }, { additionalProperties: false, minProperties: 1 }),
    answers: { 200: object({ host: text(), status: Type.Optional(text()) }), 501: null },
    handle: async ({ p, params, body }) => {
      const host = await hostNamed(p, params.id);
      if (body.maintenance_mode !== undefined) throw unsupported();
      const disabled = body.status?.toLowerCase() === 'disable';
      refuse(await updateService(p, host.name, { disabled, ...(disabled ? {} : { disabledReason: null }) }));
      return { status: 200, body: { host: host.name, status: disabled ? 'disabled' : 'enabled' } };
    },
  }),
  power('startup', 'os_compute_api:os-hosts:start'),
  power('shutdown', 'os_compute_api:os-hosts:shutdown'),
  power('reboot', 'os_compute_api:os-hosts:reboot'),
];

const unsupported = (): ApiError => new ApiError(501, 'The requested functionality is not supported.');

async function hostNamed(p: Platform, name: string): Promise<HostRecord> {
  const host = (await listHosts(p)).find((each) => each.name === name);
  if (!host) throw notFound(`Compute host ${name.slice(0, 255)} could not be found.`);
  return host;
}

/** What the servers were promised. */
const flavors = (host: string, project: string, servers: readonly Server[]): object =>
  line(
    host,
    project,
    servers.reduce((sum, { flavor }) => sum + flavor.vcpus, 0),
    servers.reduce((sum, { flavor }) => sum + flavor.memoryMb, 0),
    servers.reduce((sum, { flavor }) => sum + flavor.rootGb + flavor.ephemeralGb, 0),
  );

const line = (host: string, project: string, cpu: number, memoryMb: number, diskGb: number): object => ({
  resource: { host, project, cpu, memory_mb: memoryMb, disk_gb: diskGb },
});
