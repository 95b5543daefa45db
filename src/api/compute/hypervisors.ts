// Hypervisors: what hosts have and use. A host is one hypervisor; its id is a UUID from 2.53 on and a number, its place
// in the list, before.
import { Type } from 'typebox';
import { type HostRecord, listHosts } from '../../control/hosts.ts';
import type { Platform } from '../../control/platform.ts';
import { listServers } from '../../control/server-lists.ts';
import { eachAtMost } from '../../lib/pool.ts';
import { badRequest, notFound } from '../http/errors.ts';
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
const PatternParams = object({ pattern: Type.String({ minLength: 1, maxLength: 1024 }) });
/** Hosts that are asked at the same time how long they have been up. */
const UPTIMES_AT_ONCE = 16;
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
      const hypervisors = page.map((each) => ({ ...ref(each, minor), ...serversOn(each, servers, minor) }));
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
      const whole = new Map<string, object>();
      await eachAtMost(UPTIMES_AT_ONCE, page, async (each) => {
        whole.set(each.id, await renderWhole(p, each, minor));
      });
      const hypervisors = page.map((each) => ({ ...whole.get(each.id), ...serversOn(each, servers, minor) }));
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
      const host = await hostWith(p, params.id, minor);
      const servers = await wantedServers(p, query.with_servers, minor);
      const hypervisor = { ...(await renderWhole(p, host, minor)), ...serversOn(host, servers, minor) };
      return { status: 200, body: { hypervisor } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-hypervisors/:id/uptime`,
    service: 'compute',
    summary: 'How long a hypervisor has been up, and its load: from 2.88 on part of what is shown',
    policy: 'os_compute_api:os-hypervisors:uptime',
    until: 87,
    params: IdParams,
    answers: { 200: object({ hypervisor: object({ ...Ref.properties, uptime: text() }) }) },
    handle: async ({ p, params, minor }) => {
      const host = await hostWith(p, params.id, minor);
      const uptime = await uptimeOf(p, host);
      if (uptime === null) throw badRequest(`Compute service of ${host.name} is unavailable at this time.`);
      return { status: 200, body: { hypervisor: { ...ref(host, minor), uptime } } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-hypervisors/:pattern/search`,
    service: 'compute',
    summary: 'Find hypervisors by a part of their names',
    policy: 'os_compute_api:os-hypervisors:search',
    until: 52,
    params: PatternParams,
    answers: { 200: object({ hypervisors: Type.Array(Ref) }) },
    handle: async ({ p, params, minor }) => {
      const hosts = await matching(p, params.pattern);
      return { status: 200, body: { hypervisors: hosts.map((host) => ref(host, minor)) } };
    },
  }),
  route({
    method: 'GET',
    url: `${BASE}/os-hypervisors/:pattern/servers`,
    service: 'compute',
    summary: 'Find hypervisors by a part of their names, with the servers on them',
    policy: 'os_compute_api:os-hypervisors:servers',
    until: 52,
    params: PatternParams,
    answers: { 200: object({ hypervisors: Type.Array(Ref) }) },
    handle: async ({ p, params, minor }) => {
      const hosts = await matching(p, params.pattern);
      const servers = await serversByHost(p);
      const hypervisors = hosts.map((host) => ({ ...ref(host, minor), ...serversOn(host, servers, minor) }));
      return { status: 200, body: { hypervisors } };
    },
  }),
];

interface Numbered extends HostRecord {
  readonly number: number;
}
type ServersByHost = Map<string, { name: string; uuid: string }[]> | null;

const numbered = async (p: Platform): Promise<Numbered[]> =>
  (await listHosts(p)).map((host, index) => ({ ...host, number: index + 1 }));

/** @throws ApiError 404 */
async function hostWith(p: Platform, id: string, minor: number): Promise<Numbered> {
  const host = (await numbered(p)).find((each) => idOf(each, minor) === idFrom(id, minor));
  if (!host) throw notFound(`Hypervisor with ID '${id.slice(0, 255)}' could not be found.`);
  return host;
}

/** @throws ApiError 404 */
async function matching(p: Platform, pattern: string): Promise<Numbered[]> {
  const hosts = (await numbered(p)).filter((host) => host.name.includes(pattern));
  if (hosts.length === 0) throw notFound(`No hypervisor matching '${pattern.slice(0, 255)}' could be found.`);
  return hosts;
}

const idOf = (host: Numbered, minor: number): string | number => (minor >= 53 ? host.id : host.number);
const idFrom = (id: string, minor: number): string | number => (minor >= 53 ? id : Number(id));

async function listed(
  p: Platform,
  query: { limit?: number; marker?: string; hypervisor_hostname_pattern?: string; with_servers?: string },
  minor: number,
  url: string,
): Promise<{ page: readonly Numbered[]; next: object; servers: ServersByHost }> {
  const pattern = minor >= 53 ? query.hypervisor_hostname_pattern : undefined;
  if (pattern !== undefined && (query.limit !== undefined || query.marker !== undefined)) {
    const what = 'the hypervisor_hostname_pattern query parameter';
    throw badRequest(`Paging over hypervisors with ${what} is not supported.`);
  }
  const hosts = await (pattern === undefined ? numbered(p) : matching(p, pattern));
  // Pages came with 2.33; before, a limit is passed over.
  if (minor < 33) return { page: hosts, next: {}, servers: null };
  const result = pageOf(hosts, (host) => String(idOf(host, minor)), query);
  if (!result) throw markerNotFound(query.marker);
  return {
    page: result.page,
    next: nextLink(p.settings, 'hypervisors_links', url, result.marker),
    servers: await wantedServers(p, query.with_servers, minor),
  };
}

/** @throws ApiError 400 for what is no boolean */
async function wantedServers(p: Platform, asked: string | undefined, minor: number): Promise<ServersByHost> {
  if (minor < 53 || asked === undefined) return null;
  const wanted = booleanOf(asked);
  if (wanted === null)
    throw badRequest(`Invalid input for query parameters with_servers. Value: ${asked}. '${asked}' is not a boolean`);
  return wanted ? serversByHost(p) : null;
}

async function serversByHost(p: Platform): Promise<ServersByHost> {
  const byHost: Map<string, { name: string; uuid: string }[]> = new Map();
  for (const server of (await listServers(p, { projectId: null })).servers) {
    if (server.host === null) continue;
    const list = byHost.get(server.host) ?? [];
    list.push({ name: `instance-${server.id.slice(0, 8)}`, uuid: server.id });
    byHost.set(server.host, list);
  }
  return byHost;
}

/** Those without servers have no key until 2.74, and an empty list from 2.75 on. */
const serversOn = (host: HostRecord, servers: ServersByHost, minor: number): object => {
  if (servers === null) return {};
  const list = servers.get(host.name) ?? [];
  return list.length > 0 || minor >= 75 ? { servers: list } : {};
};

const renderWhole = async (p: Platform, host: Numbered, minor: number): Promise<object> => ({
  ...render(host, minor),
  ...(minor >= 88 ? { uptime: await uptimeOf(p, host) } : {}),
});

const DAY_S = 86_400;

/** In the words of uptime(1), as Nova's libvirt driver gives them; null: the host does not answer. */
async function uptimeOf(p: Platform, host: HostRecord): Promise<string | null> {
  const described = host.up ? await (await p.host(host.name)).describe() : null;
  if (described?.kind !== 'ok') return null;
  const { upSeconds, loads } = described.value;
  const time = new Date(p.clock.now()).toISOString().slice(11, 19);
  const days = Math.floor(upSeconds / DAY_S);
  const minutes = Math.floor((upSeconds % DAY_S) / 60);
  const hours = `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}`;
  const load = loads.map((each) => each.toFixed(2)).join(', ');
  return ` ${time} up ${days > 0 ? `${days} day${days === 1 ? '' : 's'}, ` : ''}${hours},  0 users,  load average: ${load}`;
}

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
    : {}),
});

/** The address in a host's URL; simulated hosts have none. */
function addressOf(url: string): string {
  return /^https?:/.test(url) && URL.canParse(url) ? new URL(url).hostname : '127.0.0.1';
}
