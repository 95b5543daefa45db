// Compute services: one per host. Disabling one takes it from the scheduler; forcing it down says that it is known to
// be dead before its heartbeat says so.
import { Type } from 'typebox';
import { deleteHost } from '../../control/host-removal.ts';
import { type HostRecord, listHosts, updateService } from '../../control/hosts.ts';
import type { Platform } from '../../control/platform.ts';
import { isUuid } from '../../lib/ids.ts';
import { isoMicroseconds } from '../../model/time.ts';
import { badRequest, notFound, refuse } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { BASE, IdParams, nullable, object, text } from './common.ts';

const BINARY = 'nova-compute';
const Id = Type.Union([Type.Integer(), text()]);
const Service = object({
  id: Type.Optional(Id),
  binary: text(),
  host: text(),
  zone: Type.Optional(text()),
  status: Type.Optional(text()),
  state: Type.Optional(text()),
  updated_at: Type.Optional(nullable(text())),
  disabled_reason: Type.Optional(nullable(Type.String())),
  forced_down: Type.Optional(Type.Boolean()),
});
const Reason = Type.String({ minLength: 1, maxLength: 255 });
const Host = Type.String({ minLength: 1, maxLength: 255 });

export const serviceRoutes: readonly Route[] = [
  route({
    method: 'GET',
    url: `${BASE}/os-services`,
    service: 'compute',
    summary: 'List compute services',
    policy: 'os_compute_api:os-services:list',
    query: object({ host: Type.Optional(text()), binary: Type.Optional(text()) }),
    answers: { 200: object({ services: Type.Array(Service) }) },
    handle: async ({ p, query, minor }) => {
      const services = (await listHosts(p)).flatMap((host, index) => {
        const wanted = (query.host === undefined || host.name === query.host) && (query.binary ?? BINARY) === BINARY;
        return wanted ? [render(host, index + 1, minor)] : [];
      });
      return { status: 200, body: { services } };
    },
  }),
  route({
    method: 'DELETE',
    url: `${BASE}/os-services/:id`,
    service: 'compute',
    summary: 'Forget a host that holds nothing, by its uuid (2.53), before by its number',
    policy: 'os_compute_api:os-services:delete',
    params: IdParams,
    answers: { 204: null },
    handle: async ({ p, params: { id }, minor }) => {
      if (minor >= 53 ? !isUuid(id) : !/^[0-9]{1,9}$/.test(id)) {
        throw badRequest(
          minor >= 53 ? `Invalid uuid ${id.slice(0, 255)}` : `Invalid input received: ${id.slice(0, 255)}`,
        );
      }
      const hosts = await listHosts(p);
      const host = minor >= 53 ? hosts.find((each) => each.id === id) : hosts[Number(id) - 1];
      if (!host) throw notFound(`Service ${id} not found.`);
      refuse(await deleteHost(p, host.id));
      return { status: 204 };
    },
  }),
  route({
    method: 'PUT',
    url: `${BASE}/os-services/:id`,
    service: 'compute',
    summary:
      'Enable, disable or force down a service, by its uuid (2.53); before, by the names enable, disable, disable-log-reason, force-down',
    policy: 'os_compute_api:os-services:update',
    params: IdParams,
    body: Type.Object(
      {
        status: Type.Optional(Type.Enum(['enabled', 'disabled'])),
        disabled_reason: Type.Optional(Reason),
        forced_down: Type.Optional(Type.Boolean()),
        host: Type.Optional(Host),
        binary: Type.Optional(Type.Enum([BINARY])),
      },
      { additionalProperties: false, minProperties: 1 },
    ),
    answers: { 200: object({ service: Service }) },
    handle: async ({ p, params, body, minor }) => {
      const service =
        minor >= 53 ? await update(p, params.id, body, minor) : await legacyUpdate(p, params.id, body, minor);
      return { status: 200, body: { service } };
    },
  }),
];

interface Body {
  readonly status?: string;
  readonly disabled_reason?: string;
  readonly forced_down?: boolean;
  readonly host?: string;
  readonly binary?: string;
}

async function update(p: Platform, id: string, body: Body, minor: number): Promise<object> {
  if (body.host !== undefined || body.binary !== undefined) {
    const field = body.host === undefined ? 'binary' : 'host';
    throw badRequest(`Additional properties are not allowed ('${field}' was unexpected)`);
  }
  const hosts = await listHosts(p);
  const host = hosts.find((each) => each.id === id);
  if (!host) throw notFound(`Service ${id.slice(0, 100)} could not be found.`);
  if (body.disabled_reason !== undefined && body.status !== 'disabled') {
    throw badRequest("Specifying disabled_reason requires that status is 'disabled'.");
  }
  refuse(
    await updateService(p, host.name, {
      ...(body.status === undefined
        ? {}
        : { disabled: body.status === 'disabled', disabledReason: body.disabled_reason ?? null }),
      ...(body.forced_down === undefined ? {} : { forcedDown: body.forced_down }),
    }),
  );
  return shown(p, host.name, minor);
}

/** The four calls of before 2.53, which name the service in the body. */
async function legacyUpdate(p: Platform, verb: string, body: Body, minor: number): Promise<object> {
  const { host } = body;
  const allowed = legacyFields(verb, minor);
  const unexpected = Object.keys(body).find((key) => !allowed.includes(key));
  if (unexpected) throw badRequest(`Additional properties are not allowed ('${unexpected}' was unexpected)`);
  for (const needed of allowed) {
    const given = Object.hasOwn(body, needed);
    if (!given && needed !== 'forced_down') throw badRequest(`'${needed}' is a required property`);
  }
  if (host === undefined) throw badRequest("'host' is a required property");
  const service = { binary: BINARY, host };
  switch (verb) {
    case 'enable':
      refuse(await updateService(p, host, { disabled: false, disabledReason: null }));
      return { ...service, status: 'enabled' };
    case 'disable':
      refuse(await updateService(p, host, { disabled: true, disabledReason: null }));
      return { ...service, status: 'disabled' };
    case 'disable-log-reason': {
      const reason = body.disabled_reason ?? '';
      refuse(await updateService(p, host, { disabled: true, disabledReason: reason }));
      return { ...service, status: 'disabled', disabled_reason: reason };
    }
    default: {
      const forcedDown = body.forced_down ?? true;
      refuse(await updateService(p, host, { forcedDown }));
      return { ...service, forced_down: forcedDown };
    }
  }
}

function legacyFields(verb: string, minor: number): readonly string[] {
  switch (verb) {
    case 'enable':
    case 'disable':
      return ['host', 'binary'];
    case 'disable-log-reason':
      return ['host', 'binary', 'disabled_reason'];
    case 'force-down':
      if (minor >= 11) return ['host', 'binary', 'forced_down'];
      throw notFound(`Unknown action`);
    default:
      throw notFound(`Unknown action`);
  }
}

async function shown(p: Platform, name: string, minor: number): Promise<object> {
  const hosts = await listHosts(p);
  const index = hosts.findIndex((each) => each.name === name);
  const host = hosts[index];
  if (!host) throw notFound(`Compute host ${name} could not be found.`);
  return render(host, index + 1, minor);
}

const render = (host: HostRecord, number: number, minor: number): object => ({
  id: minor >= 53 ? host.id : number,
  binary: BINARY,
  host: host.name,
  zone: host.zone,
  status: host.disabled ? 'disabled' : 'enabled',
  state: host.up ? 'up' : 'down',
  updated_at: host.lastSeenAt === null ? null : isoMicroseconds(host.lastSeenAt),
  disabled_reason: host.disabledReason,
  ...(minor >= 11 ? { forced_down: host.forcedDown } : {}),
});
