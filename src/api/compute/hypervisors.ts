// Hypervisors: what hosts have and use. A host is one hypervisor; its id is a UUID from 2.53 on and a number, its place
// in the list, before.
import { Type } from 'typebox';
import { type HostRecord, listHosts } from '../../control/hosts.ts';
import type { Platform } from '../../control/platform.ts';
import { listServers } from '../../control/server-lists.ts';
import { ApiError, notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import {
  BASE,
  booleanOf,
  IdParams,
  Links,
  markerNotFound,
  nextLink,
  nullable,
  object,
  Page,
  pageOf,
  text,
} from './common.ts';

const Id = Type.Union([Type.Integer(), text()]);
const Servers = Type.Optional(Type.Array(object({ name: text(), uuid: text() })));
const Ref = object({ id: Id, hypervisor_hostname: text(), state: text(), status: text(), servers: Servers });
const optionalInteger = Type.Optional(Type.Integer());
const Hypervisor = object({
  id: Id,
  hypervisor_hostname: text(),
  state: text(),
  status: text(),
  hypervisor_type: text(),
  hypervisor_version: Type.Integer(),
  host_ip: text(),
  service: object({ id: Id, host: text(), disabled_reason: nullable(Type.String()) }),
  vcpus: optionalInteger,
  vcpus_used: optionalInteger,
  memory_mb: optionalInteger,
  memory_mb_used: optionalInteger,
  free_ram_mb: optionalInteger,
  local_gb: optionalInteger,
  local_gb_used: optionalInteger,
  free_disk_gb: optionalInteger,
  disk_available_least: Type.Optional(nullable(Type.Integer())),
  running_vms: optionalInteger,
  current_workload: optionalInteger,
  cpu_info: Type.Optional(Type.Union([Type.String(), Type.Object({ arch: text() })])),
  uptime: Type.Optional(nullable(text())),
  servers: Servers,
});
const Query = object({
  ...Page,
  hypervisor_hostname_pattern: Type.Optional(text()),
  with_servers: Type.Optional(text(10)),
});
const links = { hypervisors_links: Type.Optional(Links) };

export const hypervisorRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/os-hypervisors`,
    service: 'compute',
    summary: 'List hypervisors',
    policy: 'os_compute_api:os-hypervisors:list',
    query: Query,
    answers: { 200: object({ hypervisors: Type.Array(Ref), ...links }) },
    handle: async ({ p, query, minor, request }) => {
      const { page, next, servers } = await listed(p, query, minor, request.url);
      const hypervisors = page.map((each) => ({ ...ref(each, minor), ...serversOn(each, servers) }));
      return { status: 200, body: { hypervisors, ...next } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-hypervisors/detail`,
    service: 'compute',
    summary: 'List hypervisors with details',
    policy: 'os_compute_api:os-hypervisors:list-detail',
    query: Query,
    answers: { 200: object({ hypervisors: Type.Array(Hypervisor), ...links }) },
    handle: async ({ p, query, minor, request }) => {
      const { page, next, servers } = await listed(p, query, minor, request.url);
      const hypervisors = page.map((each) => ({ ...render(each, minor), ...serversOn(each, servers) }));
      return { status: 200, body: { hypervisors, ...next } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-hypervisors/statistics`,
    service: 'compute',
    summary: 'Sums over all hypervisors',
    policy: 'os_compute_api:os-hypervisors:statistics',
    until: 87,
    answers: { 200: object({ hypervisor_statistics: Type.Record(Type.String(), Type.Integer()) }) },
    handle: async ({ p }) => {
      const hosts = await listHosts(p);
      const sum = (of: (host: HostRecord) => number): number => hosts.reduce((total, host) => total + of(host), 0);
      const hypervisor_statistics = {
        count: hosts.length,
        vcpus: sum((host) => host.vcpus),
        vcpus_used: sum((host) => host.vcpusUsed),
        memory_mb: sum((host) => host.memoryMb),
        memory_mb_used: sum((host) => host.memoryMbUsed),
        free_ram_mb: sum((host) => host.memoryMb - host.memoryMbUsed),
        local_gb: sum((host) => host.diskGb),
        local_gb_used: sum((host) => host.diskGbUsed),
        free_disk_gb: sum((host) => host.diskGb - host.diskGbUsed),
        disk_available_least: sum((host) => host.diskGb - host.diskGbUsed),
        running_vms: sum((host) => host.runningVms),
        current_workload: 0,
      };
      return { status: 200, body: { hypervisor_statistics } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-hypervisors/:id`,
    service: 'compute',
    summary: 'Show a hypervisor',
    policy: 'os_compute_api:os-hypervisors:show',
    params: IdParams,
    query: object({ with_servers: Type.Optional(text(10)) }),
    answers: { 200: object({ hypervisor: Hypervisor }) },
    handle: async ({ p, params, query, minor }) => {
      const host = (await numbered(p)).find((each) => idOf(each, minor) === idFrom(params.id, minor));
      if (!host) throw notFound(`Compute host ${params.id.slice(0, 255)} could not be found.`);
      const servers = await wantedServers(p, query.with_servers, minor);
      return { status: 200, body: { hypervisor: { ...render(host, minor), ...serversOn(host, servers) } } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-hypervisors/:id/uptime`,
    service: 'compute',
    summary: "A hypervisor's uptime, which hosts here do not report: 501, as Nova says it for such drivers",
    policy: 'os_compute_api:os-hypervisors:uptime',
    until: 87,
    params: IdParams,
    answers: { 501: null },
    handle: async ({ p, params, minor }) => {
      const host = (await numbered(p)).find((each) => idOf(each, minor) === idFrom(params.id, minor));
      if (!host) throw notFound(`Compute host ${params.id.slice(0, 255)} could not be found.`);
      throw new ApiError(501, 'Virt driver does not implement uptime function.');
    },
  }),
];

interface Numbered extends HostRecord {
  readonly number: number;
}
type ServersByHost = Map<string, { name: string; uuid: string }[]> | null;

const numbered = async (p: Platform): Promise<Numbered[]> =>
  (await listHosts(p)).map((host, index) => ({ ...host, number: index + 1 }));

const idOf = (host: Numbered, minor: number): string | number => (minor >= 53 ? host.id : host.number);
const idFrom = (id: string, minor: number): string | number => (minor >= 53 ? id : Number(id));

async function listed(
  p: Platform,
  query: { limit?: number; marker?: string; hypervisor_hostname_pattern?: string; with_servers?: string },
  minor: number,
  url: string,
): Promise<{ page: readonly Numbered[]; next: object; servers: ServersByHost }> {
  const pattern = query.hypervisor_hostname_pattern;
  const hosts = (await numbered(p)).filter((host) => pattern === undefined || host.name.includes(pattern));
  if (pattern !== undefined && hosts.length === 0) {
    throw notFound(`No hypervisor matching '${pattern}' could be found.`);
  }
  const result = pageOf(hosts, (host) => String(idOf(host, minor)), query);
  if (!result) throw markerNotFound(query.marker);
  return {
    page: result.page,
    next: nextLink(p.settings, 'hypervisors_links', url, result.marker),
    servers: await wantedServers(p, query.with_servers, minor),
  };
}

async function wantedServers(p: Platform, asked: string | undefined, minor: number): Promise<ServersByHost> {
  if (minor < 53 || booleanOf(asked) !== true) return null;
  const byHost: Map<string, { name: string; uuid: string }[]> = new Map();
  for (const server of (await listServers(p, { projectId: null })).servers) {
    if (server.host === null) continue;
    const list = byHost.get(server.host) ?? [];
    list.push({ name: `instance-${server.id.slice(0, 8)}`, uuid: server.id });
    byHost.set(server.host, list);
  }
  return byHost;
}

const serversOn = (host: HostRecord, servers: ServersByHost): object => {
  const list = servers?.get(host.name);
  return list ? { servers: list } : {};
};

const ref = (host: Numbered, minor: number): object => ({
  id: idOf(host, minor),
  hypervisor_hostname: host.name,
  state: host.up ? 'up' : 'down',
  status: host.disabled ? 'disabled' : 'enabled',
});

const render = (host: Numbered, minor: number): object => ({
  ...ref(host, minor),
  hypervisor_type: host.hypervisorType,
  hypervisor_version: host.hypervisorVersion,
  host_ip: addressOf(host.url),
  service: { id: idOf(host, minor), host: host.name, disabled_reason: host.disabledReason },
  // From 2.88 on capacity and usage are placement's to tell.
  ...(minor < 88
    ? {
        vcpus: host.vcpus,
        vcpus_used: host.vcpusUsed,
        memory_mb: host.memoryMb,
        memory_mb_used: host.memoryMbUsed,
        free_ram_mb: host.memoryMb - host.memoryMbUsed,
        local_gb: host.diskGb,
        local_gb_used: host.diskGbUsed,
        free_disk_gb: host.diskGb - host.diskGbUsed,
        disk_available_least: host.diskGb - host.diskGbUsed,
        running_vms: host.runningVms,
        current_workload: 0,
        cpu_info: minor >= 28 ? { arch: host.architecture } : JSON.stringify({ arch: host.architecture }),
      }
    : { uptime: null }),
});

/** The address in a host's URL; simulated hosts have none. */
function addressOf(url: string): string {
  return /^https?:/.test(url) && URL.canParse(url) ? new URL(url).hostname : '127.0.0.1';
}
