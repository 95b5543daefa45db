// Routers: records of which subnets are joined with each other and with an external network.
//
// Theory of operation. A router has ports: one on each subnet that is its interface (router-interfaces.ts), and one on
// the external network that its gateway goes to. They are held by the router: only it makes and deletes them. No host
// routes anything; what the records decide is which floating IPs can lead to which ports, and Neutron's refusals. A
// gateway stays while a floating IP needs it, a router while it has interfaces.
import type { Selectable } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { parseCidr } from '../../model/network.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { atomically, exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type FixedIp, insertPort } from './addresses.ts';
import { GATEWAY, HELD, INTERFACE } from './holders.ts';
import { type Collection, one, page, type Selection } from './listing.ts';
import { networkFor } from './networks.ts';
import { type FixedIpWish, holds, sourcesOf } from './port-rules.ts';
import { claimQuota, NETWORKS } from './quotas.ts';
import { absent, accepted, type NetworkResult, no, refusable, refuseWith, wrongText } from './results.ts';
import { changed, type Db, flag, given, listOf, type Standard, standardOf } from './standard.ts';
import { type HostRoute, subnetsOf } from './subnets.ts';

const MAX_ROUTES = 30;

export interface Gateway {
  readonly networkId: string;
  readonly enableSnat: boolean;
  readonly fixedIps: readonly FixedIp[];
}
export interface RouterRecord extends Standard {
  readonly name: string;
  readonly adminStateUp: boolean;
  /** Null: it has none. */
  readonly gateway: Gateway | null;
  readonly routes: readonly HostRoute[];
}
export interface GatewayWish {
  readonly networkId: string;
  readonly enableSnat?: boolean | undefined;
  readonly fixedIps?: readonly FixedIpWish[] | undefined;
}
export interface RouterChange {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly adminStateUp?: boolean | undefined;
  /** Null: none. */
  readonly gateway?: GatewayWish | null | undefined;
  readonly routes?: readonly HostRoute[] | undefined;
}

export const ROUTER_COLUMNS: Collection = {
  table: 'routers',
  alias: 'r',
  columns: {
    ...{ id: 'id', name: 'name', description: 'description', project_id: 'project_id', tenant_id: 'project_id' },
    ...{ admin_state_up: 'admin_state_up', created_at: 'created_at', revision_number: 'revision' },
  },
};

/** The routers that the actor sees. */
export async function listRouters(db: Db, actor: Actor, selection: Selection): Promise<RouterRecord[]> {
  let query = db.selectFrom('routers as r').selectAll('r');
  if (!isAdmin(actor)) query = query.where('r.project_id', '=', actor.projectId);
  const rows = await page(query, ROUTER_COLUMNS, selection);
  const gateways = await gatewayAddresses(
    db,
    rows.map((row) => row.id),
  );
  return rows.map((row) => routerOf(row, gateways.get(row.id) ?? []));
}

export const findRouter = async (db: Db, actor: Actor, id: string): Promise<RouterRecord | null> =>
  (await listRouters(db, actor, one(id)))[0] ?? null;

/** Creates a router of the actor's project. */
export async function createRouter(
  db: Db,
  actor: Actor,
  request: RouterChange & { readonly name: string; readonly now: number },
): Promise<NetworkResult<RouterRecord>> {
  const wrong = wrongText(request);
  if (wrong) return wrong;
  const id = newId();
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      await claimQuota(trx, 'router', actor.projectId);
      await trx
        .insertInto('routers')
        .values({
          ...{ id, name: request.name, project_id: actor.projectId, description: request.description ?? '' },
          ...{ admin_state_up: flag(request.adminStateUp ?? true), external_network_id: null },
          ...{ created_at: request.now, updated_at: request.now },
        })
        .execute();
      if (request.gateway) await setGateway(trx, actor, id, request.gateway, request.now);
      return seen(trx, actor, id);
    }),
  );
}

/** Changes a router that the actor sees. */
export async function updateRouter(
  db: Db,
  actor: Actor,
  id: string,
  change: RouterChange & { readonly now: number },
): Promise<NetworkResult<RouterRecord>> {
  const wrong = wrongText(change);
  if (wrong) return wrong;
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const router = await seen(trx, actor, id);
      if (change.gateway === null) await clearGateway(trx, router);
      else if (change.gateway) await changeGateway(trx, actor, router, change.gateway, change.now);
      if (change.routes) await checkRoutes(trx, id, change.routes);
      await trx
        .updateTable('routers')
        .set({
          ...given(change.name, (name) => ({ name })),
          ...given(change.description, (description) => ({ description })),
          ...given(change.adminStateUp, (up) => ({ admin_state_up: flag(up) })),
          ...given(change.routes, (routes) => ({ routes_json: JSON.stringify(routes) })),
          ...changed(change.now),
        })
        .where('id', '=', id)
        .execute();
      return seen(trx, actor, id);
    }),
  );
}

/**
 * Adds routes to a router's or takes some away, whatever others add at that time; what is there already, or is not there,
 * is no error (neutron/db/extraroute_db.py).
 */
export async function changeRoutes(
  db: Db,
  actor: Actor,
  id: string,
  change: { readonly add: readonly HostRoute[]; readonly remove: readonly HostRoute[]; readonly now: number },
): Promise<NetworkResult<RouterRecord>> {
  const same = (one: HostRoute) => (each: HostRoute) =>
    each.destination === one.destination && each.nexthop === one.nexthop;
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const left = (await seen(trx, actor, id)).routes.filter((each) => !change.remove.some(same(each)));
      const routes = [...left, ...change.add];
      const once = routes.filter((each, index) => routes.findIndex(same(each)) === index);
      return accepted(await updateRouter(trx, actor, id, { routes: once, now: change.now }));
    }),
  );
}

/** Deletes a router with its gateway; refused with 409 while it has interfaces, or floating IPs go through it. */
export async function deleteRouter(db: Db, actor: Actor, id: string): Promise<NetworkResult<null>> {
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const router = await seen(trx, actor, id);
      const ports = trx.selectFrom('ports').select('id').where('holder_id', '=', id);
      if (await ports.where('device_owner', '=', INTERFACE).limit(1).executeTakeFirst())
        refuseWith(no(409, 'RouterInUse', `Router ${id} still has ports`));
      await clearGateway(trx, router);
      await trx.deleteFrom('routers').where('id', '=', id).execute();
      return null;
    }),
  );
}

async function seen(trx: Db, actor: Actor, id: string): Promise<RouterRecord> {
  return (await findRouter(trx, actor, id)) ?? refuseWith(absent('router', id));
}

async function changeGateway(trx: Db, actor: Actor, router: RouterRecord, wish: GatewayWish, now: number) {
  if (router.gateway?.networkId !== wish.networkId || wish.fixedIps !== undefined) {
    await clearGateway(trx, router);
    await setGateway(trx, actor, router.id, wish, now);
  } else if (wish.enableSnat !== undefined) {
    await trx
      .updateTable('routers')
      .set({ enable_snat: flag(wish.enableSnat) })
      .where('id', '=', router.id)
      .execute();
  }
}

async function setGateway(trx: Db, actor: Actor, routerId: string, wish: GatewayWish, now: number): Promise<void> {
  const network = await networkFor(trx, actor, wish.networkId);
  if (!network.external) {
    const message = `Bad router request: Network ${network.id} is not an external network.`;
    refuseWith(no(400, 'BadRequest', message));
  }
  const sources = sourcesOf(network.id, await subnetsOf(trx, network.id), GATEWAY, wish.fixedIps);
  const port = {
    ...{ id: newId(), name: '', projectId: '', networkId: network.id, deviceId: '', holderId: routerId },
    ...{ deviceOwner: GATEWAY, portSecurity: false, now },
  };
  accepted(await insertPort(trx, port, sources));
  await trx
    .updateTable('routers')
    .set({ external_network_id: network.id, enable_snat: flag(wish.enableSnat ?? true) })
    .where('id', '=', routerId)
    .execute();
}

async function clearGateway(trx: Db, router: RouterRecord): Promise<void> {
  if (!router.gateway) return;
  const needed = await trx
    .selectFrom('floating_ips')
    .select('id')
    .where('router_id', '=', router.id)
    .where('fixed_port_id', 'is not', null)
    .limit(1)
    .executeTakeFirst();
  if (needed) {
    const message = `Gateway cannot be updated for router ${router.id}, since a gateway to external network ${router.gateway.networkId} is required by one or more floating IPs.`;
    refuseWith(no(409, 'RouterExternalGatewayInUseByFloatingIp', message));
  }
  await trx.deleteFrom('ports').where('holder_id', '=', router.id).where('device_owner', '=', GATEWAY).execute();
  await trx.updateTable('routers').set({ external_network_id: null }).where('id', '=', router.id).execute();
}

/** A route's next hop must be reachable through one of the router's ports. */
async function checkRoutes(trx: Db, routerId: string, routes: readonly HostRoute[]): Promise<void> {
  const said = JSON.stringify(routes).slice(0, 200);
  const invalid = (reason: string) =>
    refuseWith(no(400, 'InvalidRoutes', `Invalid format for routes: ${said}, ${reason}`));
  if (routes.length > MAX_ROUTES) {
    const message = `Unable to complete operation for ${routerId}. The number of routes exceeds the maximum ${MAX_ROUTES}.`;
    refuseWith(no(400, 'RoutesExhausted', message));
  }
  const subnets = await trx
    .selectFrom('ports as p')
    .innerJoin('subnets as s', 's.network_id', 'p.network_id')
    .select('s.cidr')
    .where('p.holder_id', '=', routerId)
    .where('p.device_owner', 'in', HELD)
    .execute();
  for (const { destination, nexthop } of routes) {
    if (parseCidr(destination) === null) invalid(`'${destination.slice(0, 50)}' is not a valid CIDR`);
    if (!subnets.some((subnet) => holds(subnet, nexthop))) invalid('the nexthop is not connected with router');
  }
}

async function gatewayAddresses(db: Db, ids: readonly string[]): Promise<Map<string, FixedIp[]>> {
  const byRouter = new Map<string, FixedIp[]>();
  if (ids.length === 0) return byRouter;
  const rows = await db
    .selectFrom('ports as p')
    .innerJoin('port_addresses as a', 'a.port_id', 'p.id')
    .select(['p.holder_id', 'a.subnet_id', 'a.ip'])
    .where('p.holder_id', 'in', ids)
    .where('p.device_owner', '=', GATEWAY)
    .orderBy('a.position')
    .execute();
  for (const row of rows) {
    byRouter.set(row.holder_id, [...(byRouter.get(row.holder_id) ?? []), { subnetId: row.subnet_id, ip: row.ip }]);
  }
  return byRouter;
}

const routerOf = (row: Selectable<GlobalTables['routers']>, fixedIps: readonly FixedIp[]): RouterRecord => ({
  ...standardOf(row),
  name: row.name,
  adminStateUp: row.admin_state_up === 1,
  gateway:
    row.external_network_id === null
      ? null
      : { networkId: row.external_network_id, enableSnat: row.enable_snat === 1, fixedIps },
  routes: listOf<HostRoute>(row.routes_json),
});
