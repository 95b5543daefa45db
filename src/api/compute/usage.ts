// What projects have used: simple tenant usage, for bills and dashboards; and the log of usage audits, of which there are
// none here, as in a Nova that was not told to make them.
import { Type } from 'typebox';
import { listHosts } from '../../control/hosts.ts';
import type { Platform, Settings } from '../../control/platform.ts';
import { serversBetween } from '../../control/server-lists.ts';
import { assertNever } from '../../lib/errors.ts';
import type { Target } from '../../model/policy/judge.ts';
import { isoMicroseconds, parseTime } from '../../model/time.ts';
import type { Server } from '../../model/types.ts';
import { hoursWithin, localGb, type Period, sumsOf } from '../../model/usage.ts';
import { ApiError, badRequest } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, IdParams, Links, markerNotFound, nextLink, nullable, object, Page, pageSize, text } from './common.ts';

const USAGE = `${BASE}/os-simple-tenant-usage`;
const AUDIT = `${BASE}/os-instance_usage_audit_log`;
const service = 'compute';

const ServerUsage = object({
  hours: Type.Number(),
  flavor: text(),
  instance_id: text(),
  name: text(),
  tenant_id: text(),
  memory_mb: Type.Integer(),
  local_gb: Type.Integer(),
  vcpus: Type.Integer(),
  started_at: text(),
  ended_at: nullable(text()),
  state: text(),
  uptime: Type.Integer(),
});
const usageProperties = {
  tenant_id: text(),
  server_usages: Type.Optional(Type.Array(ServerUsage)),
  total_local_gb_usage: Type.Number(),
  total_vcpus_usage: Type.Number(),
  total_memory_mb_usage: Type.Number(),
  total_hours: Type.Number(),
  start: text(),
  stop: text(),
};
const Usage = object(usageProperties);
const Query = object({
  ...Page,
  start: Type.Optional(text(64)),
  end: Type.Optional(text(64)),
  detailed: Type.Optional(text(10)),
});

const AuditLog = object({
  hosts_not_run: Type.Array(text()),
  log: Type.Object({}, { additionalProperties: false }),
  num_hosts: Type.Integer(),
  num_hosts_done: Type.Integer(),
  num_hosts_not_run: Type.Integer(),
  num_hosts_running: Type.Integer(),
  overall_status: text(),
  period_beginning: text(),
  period_ending: text(),
  total_errors: Type.Integer(),
  total_instances: Type.Integer(),
});

export const usageRoutes: readonly Route[] = [
  route({
    ...{ method: 'GET', url: USAGE, service, summary: 'What projects have used in a period' },
    policy: 'os_compute_api:os-simple-tenant-usage:list',
    query: Query,
    answers: {
      200: object({ tenant_usages: Type.Array(Usage), tenant_usages_links: Type.Optional(Links) }),
    },
    handle: async ({ p, query, minor, request }) => {
      const period = periodOf(p, query);
      const page = await pageFor(p, null, period, query, minor);
      const projects = Map.groupBy(page, (server) => server.projectId);
      const detailed = query.detailed === '1';
      const tenant_usages = [...projects].map(([id, servers]) => render(p, id, servers, period, detailed));
      const links = linksFor(p.settings, 'tenant_usages_links', request.url, page, query, minor);
      return { status: 200, body: { tenant_usages, ...links } };
    },
  }),
  route({
    ...{ method: 'GET', url: `${USAGE}/:id`, service, summary: 'What a project has used in a period' },
    policy: 'os_compute_api:os-simple-tenant-usage:show',
    target: (id): Target => ({ project_id: id }),
    params: object({ id: Type.String({ minLength: 1, maxLength: 255 }) }),
    query: Query,
    answers: {
      200: object({
        tenant_usage: Type.Union([Usage, object({})]),
        tenant_usage_links: Type.Optional(Links),
      }),
    },
    handle: async ({ p, params: { id }, query, minor, request }) => {
      const period = periodOf(p, query);
      const page = await pageFor(p, id, period, query, minor);
      const links = linksFor(p.settings, 'tenant_usage_links', request.url, page, query, minor);
      const tenant_usage = page.length === 0 ? {} : render(p, id, page, period, true);
      return { status: 200, body: { tenant_usage, ...links } };
    },
  }),
  route({
    ...{ method: 'GET', url: AUDIT, service, summary: 'The audits of usage of the last month: none' },
    policy: 'os_compute_api:os-instance-usage-audit-log:list',
    answers: { 200: object({ instance_usage_audit_logs: AuditLog }) },
    handle: async ({ p }) => ({
      status: 200,
      body: { instance_usage_audit_logs: await auditLog(p, p.clock.now()) },
    }),
  }),
  route({
    ...{ method: 'GET', url: `${AUDIT}/:id`, service, summary: 'The audits of the month before a time: none' },
    policy: 'os_compute_api:os-instance-usage-audit-log:show',
    params: IdParams,
    answers: { 200: object({ instance_usage_audit_log: AuditLog }) },
    handle: async ({ p, params: { id } }) => {
      const before = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?$/.test(id) ? parseTime(id) : null;
      if (before === null) throw badRequest(`Invalid timestamp for date ${id.slice(0, 255)}`);
      return { status: 200, body: { instance_usage_audit_log: await auditLog(p, before) } };
    },
  }),
];

type Query = { readonly start?: string; readonly end?: string; readonly limit?: number; readonly marker?: string };

/** Without a start or an end it is now, as in Nova; without both nothing has been used. */
function periodOf(p: Platform, query: Query): Period {
  const now = p.clock.now();
  const time = (value: string | undefined): number => {
    const parsed = value === undefined || value === '' ? now : parseTime(value);
    if (parsed === null) throw badRequest('Invalid datetime string: Datetime is in invalid format');
    return parsed;
  };
  const from = time(query.start);
  const until = time(query.end);
  if (from > until) throw badRequest('Invalid start time. The start time cannot occur after the end time.');
  return { from, until: Math.min(until, now) };
}

/**
 * Servers by project and id: pages from 2.40 on, at most one page before. Those that never started are left out.
 * @throws ApiError 400 (marker), 503: less than was used is never shown
 */
async function pageFor(
  p: Platform,
  projectId: string | null,
  period: Period,
  query: Query,
  minor: number,
): Promise<readonly Server[]> {
  const limit = pageSize(minor >= 40 ? query.limit : undefined);
  const marker = minor >= 40 ? query.marker : undefined;
  const test = ({ launchedAt }: Server): boolean => launchedAt !== null && launchedAt < period.until;
  const read = await serversBetween(p, { projectId, ...period, marker, limit, test });
  switch (read.kind) {
    case 'ok':
      return read.servers;
    case 'no marker':
      throw markerNotFound(marker);
    case 'down':
      throw new ApiError(503, 'A cell is unavailable at this time; what its servers have used is not known.');
    default:
      return assertNever(read);
  }
}

/** As in Nova there is a next page when this one is as long as was asked for. */
function linksFor(
  settings: Settings,
  key: string,
  url: string,
  page: readonly Server[],
  query: Query,
  minor: number,
): object {
  const full = minor >= 40 && page.length > 0 && page.length >= pageSize(query.limit);
  return nextLink(settings, key, url, full ? (page.at(-1)?.id ?? null) : null);
}

function render(p: Platform, projectId: string, servers: readonly Server[], period: Period, detailed: boolean): object {
  const sums = sumsOf(servers, period);
  return {
    tenant_id: projectId,
    ...(detailed ? { server_usages: servers.map((server) => renderServer(p, server, period)) } : {}),
    total_local_gb_usage: sums.localGbHours,
    total_vcpus_usage: sums.vcpuHours,
    total_memory_mb_usage: sums.memoryMbHours,
    total_hours: sums.hours,
    start: isoMicroseconds(period.from),
    stop: isoMicroseconds(period.until),
  };
}

function renderServer(p: Platform, server: Server, period: Period): object {
  const launchedAt = server.launchedAt ?? server.createdAt;
  return {
    hours: hoursWithin(server, period),
    flavor: server.flavor.name,
    instance_id: server.id,
    name: server.name,
    tenant_id: server.projectId,
    memory_mb: server.flavor.memoryMb,
    local_gb: localGb(server),
    vcpus: server.flavor.vcpus,
    started_at: isoMicroseconds(launchedAt),
    ended_at: server.deletedAt === null ? null : isoMicroseconds(server.deletedAt),
    state: server.deletedAt === null ? server.vmState : 'terminated',
    uptime: Math.floor(((server.deletedAt ?? p.clock.now()) - launchedAt) / 1000),
  };
}

/** Of the last whole month before a time (Nova's default period). */
async function auditLog(p: Platform, before: number): Promise<object> {
  const date = new Date(before - 1);
  const end = Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
  const beginning = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() - 1, 1);
  const hosts = (await listHosts(p)).map((host) => host.name);
  const done = hosts.length === 0 ? 'ALL' : `0 of ${hosts.length}`;
  return {
    hosts_not_run: hosts,
    log: {},
    num_hosts: hosts.length,
    num_hosts_done: 0,
    num_hosts_not_run: hosts.length,
    num_hosts_running: 0,
    overall_status: `${done} hosts done. 0 errors.`,
    period_beginning: dateText(beginning),
    period_ending: dateText(end),
    total_errors: 0,
    total_instances: 0,
  };
}

const dateText = (ms: number): string => new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
