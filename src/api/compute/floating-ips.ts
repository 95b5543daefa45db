// os-floating-ips, os-floating-ip-pools (until 2.35) and the actions addFloatingIp, removeFloatingIp (until 2.43): the
// network service in Nova's old words. They call the use cases that the network API calls, under rules of compute and of the network service.
import { type Static, Type } from 'typebox';
import {
  createFloatingIp,
  deleteFloatingIp,
  type FloatingIpRecord,
  findFloatingIp,
  listFloatingIps,
  updateFloatingIp,
} from '../../control/network/floating-ips.ts';
import { listNetworks } from '../../control/network/networks.ts';
import type { Db } from '../../control/network/standard.ts';
import { portsOfServer } from '../../control/network.ts';
import { isUuid } from '../../lib/ids.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import type { Actor } from '../../model/types.ts';
import { ApiError, badRequest, conflict, forbidden, notFound } from '../http/errors.ts';
import { type Route, route } from '../http/route.ts';
import { requireBehind } from '../http/targets.ts';
import { BASE, IdParams, nullable, object, text } from './common.ts';
import { type Actions, action } from './server-action.ts';

const URL = `${BASE}/os-floating-ips`;
const shared = { service: 'compute', until: 35 } as const;
/** More than a project has. */
const MANY = 1000;
/** Nova's default_floating_pool is `nova`; here it is the only external network, when there is one. */
const LAST_ACTION = 43;

const behind = (rule: RuleName) => ({ service: 'network', rule }) as const;
const behindOne = (rule: RuleName) => ({ ...behind(rule), record: '/network/v2.0/floatingips/:id' }) as const;

const FloatingIp = object({
  id: text(),
  ip: text(),
  fixed_ip: nullable(text()),
  instance_id: nullable(text()),
  pool: text(),
});
const One = object({ floating_ip: FloatingIp });

async function rendered(
  db: Db,
  actor: Actor,
  floating: readonly FloatingIpRecord[],
): Promise<Static<typeof FloatingIp>[]> {
  if (floating.length === 0) return [];
  const networks = await pools(db, actor);
  const portIds = floating.flatMap((each) => each.target?.port.id ?? []);
  const ports =
    portIds.length === 0
      ? []
      : await db.selectFrom('ports').select(['id', 'device_id']).where('id', 'in', portIds).execute();
  return floating.map(({ id, ip, target, networkId }) => ({
    ...{ id, ip, fixed_ip: target?.fixedIp ?? null },
    instance_id: ports.find((port) => port.id === target?.port.id)?.device_id || null,
    pool: networks.find((each) => each.id === networkId)?.name || networkId,
  }));
}

const pools = (db: Db, actor: Actor) => listNetworks(db, actor, { where: { 'router:external': [1] }, limit: MANY });

async function oneOf(db: Db, actor: Actor, id: string): Promise<FloatingIpRecord> {
  const found = isUuid(id) ? await findFloatingIp(db, actor, id) : null;
  if (!found) throw notFound(`Floating IP not found for ID ${id.slice(0, 255)}`);
  return found;
}

async function byAddress(db: Db, actor: Actor, address: string): Promise<FloatingIpRecord | null> {
  const found = await listFloatingIps(db, actor, { where: { floating_ip_address: [address] }, limit: 2 });
  if (found.length > 1) throw conflict(`Multiple floating IPs are found for address ${address}.`);
  return found[0] ?? null;
}

export const floatingIpRoutes: readonly Route[] = [
  route({
    ...{ ...shared, method: 'GET', url: URL, summary: "List the project's floating IPs" },
    policy: 'os_compute_api:os-floating-ips:list',
    behind: behind('get_floatingip'),
    query: Type.Object({}, { additionalProperties: true }),
    answers: { 200: object({ floating_ips: Type.Array(FloatingIp) }) },
    handle: async ({ p, actor }) => {
      const { global } = p.stores;
      const own = { where: { project_id: [actor.projectId] }, limit: MANY };
      const floating_ips = await rendered(global, actor, await listFloatingIps(global, actor, own));
      return { status: 200, body: { floating_ips } };
    },
  }),
  route({
    ...{ ...shared, method: 'GET', url: `${URL}/:id`, summary: 'Show a floating IP' },
    policy: 'os_compute_api:os-floating-ips:show',
    behind: behindOne('get_floatingip'),
    params: IdParams,
    answers: { 200: One },
    handle: async ({ p, actor, params }) => {
      const { global } = p.stores;
      const [floating_ip] = await rendered(global, actor, [await oneOf(global, actor, params.id)]);
      return { status: 200, body: { floating_ip } };
    },
  }),
  route({
    ...{ ...shared, method: 'POST', url: URL, summary: 'Take a floating IP from a pool' },
    policy: 'os_compute_api:os-floating-ips:create',
    behind: behind('create_floatingip'),
    body: Type.Union([object({ pool: Type.Optional(nullable(text())) }), Type.Null()]),
    answers: { 200: One },
    handle: async ({ p, actor, body }) => {
      const { global } = p.stores;
      const pool = body?.pool ?? null;
      const found = await pools(global, actor);
      const [network] = found.filter((each) => pool === null || each.id === pool || each.name === pool);
      if (!network) throw notFound('Floating IP pool not found.');
      const made = await createFloatingIp(global, actor, { networkId: network.id, now: p.clock.now() });
      if (made.kind === 'refused') throw refusalOf(made.refusal.type, made.refusal.message, pool);
      const [floating_ip] = await rendered(global, actor, [made.value]);
      return { status: 200, body: { floating_ip } };
    },
  }),
  route({
    ...{ ...shared, method: 'DELETE', url: `${URL}/:id`, summary: 'Give a floating IP back' },
    policy: 'os_compute_api:os-floating-ips:delete',
    behind: behindOne('delete_floatingip'),
    params: IdParams,
    answers: { 202: null },
    handle: async ({ p, actor, params }) => {
      const { global } = p.stores;
      const { id } = await oneOf(global, actor, params.id);
      const gone = await deleteFloatingIp(global, actor, id);
      if (gone.kind === 'refused') throw new ApiError(gone.refusal.code, gone.refusal.message);
      return { status: 202 };
    },
  }),
  route({
    ...{ ...shared, method: 'GET', url: `${BASE}/os-floating-ip-pools`, summary: 'List the pools of floating IPs' },
    policy: 'os_compute_api:os-floating-ip-pools',
    behind: behind('get_network'),
    query: Type.Object({}, { additionalProperties: true }),
    answers: { 200: object({ floating_ip_pools: Type.Array(object({ name: text() })) }) },
    handle: async ({ p, actor }) => {
      const found = await pools(p.stores.global, actor);
      return { status: 200, body: { floating_ip_pools: found.map(({ id, name }) => ({ name: name || id })) } };
    },
  }),
];

function refusalOf(type: string, message: string, pool: string | null): ApiError {
  const where = pool === null ? '' : ` in pool ${pool}`;
  if (type === 'OverQuota') return forbidden(`IP allocation over quota${where}.`);
  if (type === 'IpAddressGenerationFailure') {
    return notFound(pool === null ? 'No more floating IPs available.' : `No more floating IPs${where}.`);
  }
  return badRequest(message);
}

const address = Type.String({ format: 'ipv4', maxLength: 15 });
const untilActions =
  <S>(schema: S) =>
  (minor: number) =>
    minor <= LAST_ACTION ? schema : null;

export const FLOATING_IP_ACTIONS: Actions = {
  addFloatingIp: action(
    'os_compute_api:os-floating-ips:add',
    untilActions(object({ address, fixed_address: Type.Optional(address) })),
    async ({ p, actor, server }, value) => {
      const { global } = p.stores;
      const fixed = (await portsOfServer(global, server.id)).flatMap((port) =>
        port.fixedIps.map(({ ip }) => ({ portId: port.id, ip })),
      );
      const [first] = fixed;
      if (!first) throw badRequest('No fixed IPs associated to instance');
      const { fixed_address: wished } = value;
      const chosen = wished === undefined ? first : fixed.find((each) => each.ip === wished);
      if (!chosen) throw badRequest('Specified fixed address not assigned to instance');
      const floating = await byAddress(global, actor, value.address);
      if (!floating) throw notFound('floating IP not found');
      await requireBehind(p, actor, behindOne('update_floatingip'), floating.id);
      const association = { portId: chosen.portId, fixedIp: chosen.ip };
      const changed = await updateFloatingIp(global, actor, floating.id, { association, now: p.clock.now() });
      if (changed.kind === 'ok') return { status: 202 };
      if (changed.refusal.code === 409)
        throw badRequest(`Floating IP ${changed.refusal.message} association has failed.`);
      throw badRequest(
        `Unable to associate floating IP ${value.address} to fixed IP ${chosen.ip} for instance ${server.id}. Error: ${changed.refusal.message}`,
      );
    },
  ),
  removeFloatingIp: action(
    'os_compute_api:os-floating-ips:remove',
    untilActions(object({ address })),
    async ({ p, actor, server }, value) => {
      const { global } = p.stores;
      const floating = await byAddress(global, actor, value.address);
      if (!floating) throw notFound(`Floating IP not found for address ${value.address}.`);
      await requireBehind(p, actor, behindOne('update_floatingip'), floating.id);
      const mine = (await portsOfServer(global, server.id)).some((port) => port.id === floating.target?.port.id);
      if (!mine) throw conflict(`Floating IP ${value.address} is not associated with instance ${server.id}.`);
      const association = { portId: null };
      const changed = await updateFloatingIp(global, actor, floating.id, { association, now: p.clock.now() });
      if (changed.kind === 'refused') throw new ApiError(changed.refusal.code, changed.refusal.message);
      return { status: 202 };
    },
  ),
};
