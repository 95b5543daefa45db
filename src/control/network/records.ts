// Networks, subnets and ports as the network API's users see and change them.
//
// Theory of operation. A network is a name and, here, at most one subnet; ports take their addresses from it. Guests use
// user-mode networking, so networks keep addresses apart but need nothing on the hosts. Users see their project's own
// networks and the shared ones, and only their own ports; administrators see everything. A port that a server uses
// belongs to the moves (control/network.ts): here it may be renamed, nothing else. `device_id` is never set here.
// Checks that read before they write run in one transaction; the limits per project are checked in it too.
// Not handled: routers, floating IPs, security groups (user-mode networking lets nothing in by itself), IPv6.
import type { Kysely } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { checkDescription } from '../../model/names.ts';
import { type AddressPool, formatCidr, formatIpv4, parseCidr, parseIpv4, poolOf } from '../../model/network.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { insertPort, uuidOf } from './addresses.ts';

/** Most networks, subnets and unattached ports of one project (Neutron's default quotas). */
export const NETWORK_LIMITS = { network: 100, subnet: 100, port: 500 } as const;
/** Largest and smallest subnet: every address of one may be read at once. */
const LONGEST_PREFIX = 29;
const SHORTEST_PREFIX = 16;
const MTU = 1500;

type Db = Kysely<GlobalTables>;

/** `type`: the name of Neutron's exception, which its clients look at. */
export interface NetworkRefusal extends Refusal {
  readonly type: string;
}
export type NetworkResult<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'refused'; readonly refusal: NetworkRefusal };

export const no = (code: Refusal['code'], type: string, message: string): NetworkResult<never> => ({
  kind: 'refused',
  refusal: { code, type, message },
});
export const ok = <T>(value: T): NetworkResult<T> => ({ kind: 'ok', value });

export interface NetworkRecord {
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  readonly shared: boolean;
  readonly mtu: number;
  readonly subnetIds: readonly string[];
  readonly createdAt: number;
}

export interface SubnetRecord {
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  readonly networkId: string;
  readonly cidr: string;
  readonly gateway: string;
  readonly poolStart: string;
  readonly poolEnd: string;
  readonly createdAt: number;
}

export interface PortRecord {
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  readonly networkId: string;
  readonly subnetId: string;
  readonly mac: string;
  readonly ip: string;
  readonly deviceId: string;
  readonly deviceOwner: string;
  /** Host of the active binding; null: none, the port is DOWN. */
  readonly host: string | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A page of a list sorted by id: what comes after `marker`, at most `limit`. */
export interface Page {
  readonly limit: number;
  readonly marker?: string;
}

/** Each given field must be one of its values. */
export interface NetworkFilter {
  readonly ids?: readonly string[];
  readonly names?: readonly string[];
  readonly projectIds?: readonly string[];
  readonly shared?: boolean;
}
export interface SubnetFilter {
  readonly ids?: readonly string[];
  readonly names?: readonly string[];
  readonly projectIds?: readonly string[];
  readonly networkIds?: readonly string[];
  readonly cidrs?: readonly string[];
}
export interface PortFilter {
  readonly ids?: readonly string[];
  readonly names?: readonly string[];
  readonly projectIds?: readonly string[];
  readonly networkIds?: readonly string[];
  readonly deviceIds?: readonly string[];
  readonly deviceOwners?: readonly string[];
  readonly macs?: readonly string[];
  readonly ips?: readonly string[];
  readonly subnetIds?: readonly string[];
  readonly hosts?: readonly string[];
  readonly active?: boolean;
}

/**
 * Makes the network `shared` with its subnet, which every project can use, when it is not there yet. Its ids follow
 * from its name, so that two processes that start at once make one. An existing subnet is not changed.
 * @param settings.cidr e.g. 10.42.0.0/16; /16 to /29
 * @throws Error when the CIDR is none: the configuration is wrong
 */
export async function ensureSharedNetwork(
  db: Db,
  settings: { readonly cidr: string; readonly now: number },
): Promise<{ networkId: string; subnetId: string }> {
  const pool = poolFor(settings.cidr);
  if (!pool) throw new Error(`the shared network's cidr must be a network of /16 to /29, not ${settings.cidr}`);
  const [networkId, subnetId] = [uuidOf('network', 'shared'), uuidOf('subnet', 'shared')];
  await db
    .insertInto('networks')
    .values({ id: networkId, name: 'shared', project_id: '', shared: 1, mtu: MTU, created_at: settings.now })
    .onConflict((any) => any.doNothing())
    .execute();
  await db
    .insertInto('subnets')
    .values(subnetRow({ id: subnetId, networkId, name: 'shared-subnet', projectId: '', pool, now: settings.now }))
    .onConflict((any) => any.doNothing())
    .execute();
  return { networkId, subnetId };
}

/** The networks the actor sees, by id. */
export async function listNetworks(db: Db, actor: Actor, filter: NetworkFilter, page: Page): Promise<NetworkRecord[]> {
  let query = db.selectFrom('networks as n').selectAll('n');
  if (!isAdmin(actor)) {
    query = query.where((where) => where.or([where('n.shared', '=', 1), where('n.project_id', '=', actor.projectId)]));
  }
  if (filter.ids) query = query.where('n.id', 'in', filter.ids);
  if (filter.names) query = query.where('n.name', 'in', filter.names);
  if (filter.projectIds) query = query.where('n.project_id', 'in', filter.projectIds);
  if (filter.shared !== undefined) query = query.where('n.shared', '=', filter.shared ? 1 : 0);
  if (page.marker !== undefined) query = query.where('n.id', '>', page.marker);
  const rows = await query.orderBy('n.id').limit(page.limit).execute();
  if (rows.length === 0) return [];
  const subnets = await db
    .selectFrom('subnets')
    .select(['id', 'network_id'])
    .where(
      'network_id',
      'in',
      rows.map((row) => row.id),
    )
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    projectId: row.project_id,
    shared: row.shared === 1,
    mtu: row.mtu,
    subnetIds: subnets.filter((each) => each.network_id === row.id).map((each) => each.id),
    createdAt: row.created_at,
  }));
}

/** The network, when the actor sees it. */
export const findNetwork = async (db: Db, actor: Actor, id: string): Promise<NetworkRecord | null> =>
  (await listNetworks(db, actor, { ids: [id] }, { limit: 1 }))[0] ?? null;

/** Creates a network of the actor's project; who may share it with all is the policy's to say. */
export async function createNetwork(
  db: Db,
  actor: Actor,
  request: { readonly name: string; readonly shared: boolean; readonly now: number },
): Promise<NetworkResult<NetworkRecord>> {
  const wrong = checkDescription(request.name, 'name');
  if (wrong) return no(400, 'HTTPBadRequest', wrong.message);
  const id = newId();
  return db.transaction().execute(async (trx) => {
    await exclusively(trx, 'networks');
    const { count } = await trx
      .selectFrom('networks')
      .select((select) => select.fn.countAll<number>().as('count'))
      .where('project_id', '=', actor.projectId)
      .executeTakeFirstOrThrow();
    if (Number(count) >= NETWORK_LIMITS.network) return overQuota('network');
    const row = { id, name: request.name, project_id: actor.projectId, shared: request.shared ? 1 : 0 };
    await trx
      .insertInto('networks')
      .values({ ...row, mtu: MTU, created_at: request.now })
      .execute();
    const { name, shared, now: createdAt } = request;
    return ok({ id, name, projectId: actor.projectId, shared, mtu: MTU, subnetIds: [], createdAt });
  });
}

/** Renames a network of the actor's project. */
export async function updateNetwork(
  db: Db,
  actor: Actor,
  id: string,
  change: { readonly name?: string },
): Promise<NetworkResult<NetworkRecord>> {
  const network = await findNetwork(db, actor, id);
  if (!network) return networkNotFound(id);
  if (!owns(actor, network)) return no(403, 'PolicyNotAuthorized', 'rule:update_network is disallowed by policy');
  if (change.name === undefined) return ok(network);
  const wrong = checkDescription(change.name, 'name');
  if (wrong) return no(400, 'HTTPBadRequest', wrong.message);
  await db.updateTable('networks').set({ name: change.name }).where('id', '=', id).execute();
  return ok({ ...network, name: change.name });
}

/** Deletes a network with its subnet; refused with 409 while a port is on it. */
export async function deleteNetwork(db: Db, actor: Actor, id: string): Promise<NetworkResult<null>> {
  const network = await findNetwork(db, actor, id);
  if (!network) return networkNotFound(id);
  if (!owns(actor, network)) return no(403, 'PolicyNotAuthorized', 'rule:delete_network is disallowed by policy');
  return db.transaction().execute(async (trx) => {
    await exclusively(trx, 'networks');
    const used = await trx.selectFrom('ports').select('id').where('network_id', '=', id).limit(5).execute();
    if (used.length > 0) {
      const ids = used.map((port) => port.id).join(',');
      return no(
        409,
        'NetworkInUse',
        `Unable to complete operation on network ${id}. There are one or more ports still in use on the network, id for these ports is ${ids}.`,
      );
    }
    await trx.deleteFrom('subnets').where('network_id', '=', id).execute();
    await trx.deleteFrom('networks').where('id', '=', id).execute();
    return ok(null);
  });
}

/** The subnets of the networks that the actor sees, by id. */
export async function listSubnets(db: Db, actor: Actor, filter: SubnetFilter, page: Page): Promise<SubnetRecord[]> {
  let query = db.selectFrom('subnets as s').innerJoin('networks as n', 'n.id', 's.network_id').selectAll('s');
  if (!isAdmin(actor)) {
    query = query.where((where) =>
      where.or([
        where('n.shared', '=', 1),
        where('n.project_id', '=', actor.projectId),
        where('s.project_id', '=', actor.projectId),
      ]),
    );
  }
  if (filter.ids) query = query.where('s.id', 'in', filter.ids);
  if (filter.names) query = query.where('s.name', 'in', filter.names);
  if (filter.projectIds) query = query.where('s.project_id', 'in', filter.projectIds);
  if (filter.networkIds) query = query.where('s.network_id', 'in', filter.networkIds);
  if (filter.cidrs) query = query.where('s.cidr', 'in', filter.cidrs);
  if (page.marker !== undefined) query = query.where('s.id', '>', page.marker);
  const rows = await query.orderBy('s.id').limit(page.limit).execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    projectId: row.project_id,
    networkId: row.network_id,
    cidr: row.cidr,
    gateway: row.gateway_ip,
    poolStart: row.pool_start,
    poolEnd: row.pool_end,
    createdAt: row.created_at,
  }));
}

export const findSubnet = async (db: Db, actor: Actor, id: string): Promise<SubnetRecord | null> =>
  (await listSubnets(db, actor, { ids: [id] }, { limit: 1 }))[0] ?? null;

export interface SubnetRequest {
  readonly networkId: string;
  readonly name: string;
  readonly cidr: string;
  /** Absent: the first host address. */
  readonly gateway?: string;
  /** Absent: all addresses that nobody else needs. */
  readonly pool?: { readonly start: string; readonly end: string };
  readonly now: number;
}

/** Gives a network its subnet. Refused: no such network, not the actor's, a second subnet, addresses that do not fit. */
export async function createSubnet(db: Db, actor: Actor, request: SubnetRequest): Promise<NetworkResult<SubnetRecord>> {
  const wrong = checkDescription(request.name, 'name');
  if (wrong) return no(400, 'HTTPBadRequest', wrong.message);
  const pool = wishedPool(request);
  if (pool.kind === 'refused') return pool;
  const network = await findNetwork(db, actor, request.networkId);
  if (!network) return networkNotFound(request.networkId);
  if (!owns(actor, network)) return no(403, 'PolicyNotAuthorized', 'rule:create_subnet is disallowed by policy');
  const row = subnetRow({
    ...{ id: newId(), networkId: network.id, name: request.name, projectId: network.projectId },
    ...{ pool: pool.value, now: request.now },
  });
  const result = await db.transaction().execute(async (trx): Promise<NetworkResult<null>> => {
    await exclusively(trx, 'networks');
    const there = await trx.selectFrom('subnets').select('id').where('network_id', '=', network.id).execute();
    if (there.length > 0)
      return no(409, 'HTTPConflict', `Network ${network.id} has a subnet already; one is all it can have.`);
    const { count } = await trx
      .selectFrom('subnets')
      .select((select) => select.fn.countAll<number>().as('count'))
      .where('project_id', '=', network.projectId)
      .executeTakeFirstOrThrow();
    if (Number(count) >= NETWORK_LIMITS.subnet) return overQuota('subnet');
    await trx.insertInto('subnets').values(row).execute();
    return ok(null);
  });
  if (result.kind === 'refused') return result;
  return ok({
    ...{ id: row.id, name: row.name, projectId: row.project_id, networkId: row.network_id, cidr: row.cidr },
    ...{ gateway: row.gateway_ip, poolStart: row.pool_start, poolEnd: row.pool_end, createdAt: row.created_at },
  });
}

/** Deletes a subnet; refused with 409 while a port has an address of it. */
export async function deleteSubnet(db: Db, actor: Actor, id: string): Promise<NetworkResult<null>> {
  const subnet = await findSubnet(db, actor, id);
  if (!subnet) return no(404, 'SubnetNotFound', `Subnet ${id} could not be found.`);
  if (!owns(actor, subnet)) return no(403, 'PolicyNotAuthorized', 'rule:delete_subnet is disallowed by policy');
  return db.transaction().execute(async (trx) => {
    await exclusively(trx, 'networks');
    const used = await trx.selectFrom('ports').select('id').where('subnet_id', '=', id).limit(1).executeTakeFirst();
    if (used) {
      return no(
        409,
        'SubnetInUse',
        `Unable to complete operation on subnet ${id}: One or more ports have an IP allocation from this subnet.`,
      );
    }
    await trx.deleteFrom('subnets').where('id', '=', id).execute();
    return ok(null);
  });
}

/** The ports the actor sees, by id. */
export async function listPorts(db: Db, actor: Actor, filter: PortFilter, page: Page): Promise<PortRecord[]> {
  if (filter.ids?.length === 0) return [];
  let query = db
    .selectFrom('ports as p')
    .leftJoin('port_bindings as b', (join) => join.onRef('b.port_id', '=', 'p.id').on('b.active', '=', 1))
    .selectAll('p')
    .select('b.host as host');
  if (!isAdmin(actor)) query = query.where('p.project_id', '=', actor.projectId);
  if (filter.ids) query = query.where('p.id', 'in', filter.ids);
  if (filter.names) query = query.where('p.name', 'in', filter.names);
  if (filter.projectIds) query = query.where('p.project_id', 'in', filter.projectIds);
  if (filter.networkIds) query = query.where('p.network_id', 'in', filter.networkIds);
  if (filter.deviceIds) query = query.where('p.device_id', 'in', filter.deviceIds);
  if (filter.deviceOwners) query = query.where('p.device_owner', 'in', filter.deviceOwners);
  if (filter.macs) query = query.where('p.mac', 'in', filter.macs);
  if (filter.ips) query = query.where('p.ip', 'in', filter.ips);
  if (filter.subnetIds) query = query.where('p.subnet_id', 'in', filter.subnetIds);
  if (filter.hosts) query = query.where('b.host', 'in', filter.hosts);
  if (filter.active !== undefined) query = query.where('b.host', filter.active ? 'is not' : 'is', null);
  if (page.marker !== undefined) query = query.where('p.id', '>', page.marker);
  const rows = await query.orderBy('p.id').limit(page.limit).execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    projectId: row.project_id,
    networkId: row.network_id,
    subnetId: row.subnet_id,
    mac: row.mac,
    ip: row.ip,
    deviceId: row.device_id,
    deviceOwner: row.device_owner,
    host: row.host,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }));
}

export const findPort = async (db: Db, actor: Actor, id: string): Promise<PortRecord | null> =>
  (await listPorts(db, actor, { ids: [id] }, { limit: 1 }))[0] ?? null;

export interface PortCreation {
  readonly networkId: string;
  readonly name: string;
  /** The subnet and the address to have; absent: the network's subnet, any address. */
  readonly subnetId?: string;
  readonly ip?: string;
  readonly now: number;
}

/** Creates an unattached port of the actor's project on a network that it sees. */
export async function createPort(db: Db, actor: Actor, request: PortCreation): Promise<NetworkResult<PortRecord>> {
  const wrong = checkDescription(request.name, 'name');
  if (wrong) return no(400, 'HTTPBadRequest', wrong.message);
  const network = await findNetwork(db, actor, request.networkId);
  if (!network) return networkNotFound(request.networkId);
  const subnets = await listSubnets(db, actor, { networkIds: [network.id] }, { limit: 10 });
  const subnet = request.subnetId === undefined ? subnets[0] : subnets.find((each) => each.id === request.subnetId);
  if (!subnet) {
    return request.subnetId === undefined
      ? no(409, 'IpAddressGenerationFailure', `No more IP addresses available on network ${network.id}.`)
      : no(
          400,
          'InvalidInput',
          `Failed to create port on network ${network.id}, because fixed_ips included invalid subnet ${request.subnetId}.`,
        );
  }
  if (request.ip !== undefined && !isInPoolOf(subnet, request.ip))
    return no(400, 'InvalidIpForSubnet', `IP address ${request.ip} is not a valid IP for the specified subnet.`);
  const id = newId();
  const { name, now } = request;
  const inserted = await db.transaction().execute(async (trx): Promise<NetworkResult<{ mac: string; ip: string }>> => {
    await exclusively(trx, 'networks');
    const { count } = await trx
      .selectFrom('ports')
      .select((select) => select.fn.countAll<number>().as('count'))
      .where('project_id', '=', actor.projectId)
      .where('device_id', '=', '')
      .executeTakeFirstOrThrow();
    if (Number(count) >= NETWORK_LIMITS.port) return overQuota('port');
    const result = await insertPort(trx, subnet, {
      ...{ id, name, projectId: actor.projectId, deviceId: '', deviceOwner: '', now },
      ...(request.ip === undefined ? {} : { ip: request.ip }),
    });
    if (result.kind === 'ok') return ok(result);
    const type = request.ip === undefined ? 'IpAddressGenerationFailure' : 'IpAddressAlreadyAllocated';
    return no(result.refusal.code, type, result.refusal.message);
  });
  if (inserted.kind === 'refused') return inserted;
  return ok({
    ...{ id, name, projectId: actor.projectId, networkId: network.id, subnetId: subnet.id },
    ...{ mac: inserted.value.mac, ip: inserted.value.ip, deviceId: '', deviceOwner: '', host: null },
    ...{ createdAt: now, updatedAt: now },
  });
}

/** Renames a port. */
export async function updatePort(
  db: Db,
  actor: Actor,
  id: string,
  change: { readonly name?: string; readonly now: number },
): Promise<NetworkResult<PortRecord>> {
  const port = await findPort(db, actor, id);
  if (!port) return portNotFound(id);
  if (change.name === undefined) return ok(port);
  const wrong = checkDescription(change.name, 'name');
  if (wrong) return no(400, 'HTTPBadRequest', wrong.message);
  await db.updateTable('ports').set({ name: change.name, updated_at: change.now }).where('id', '=', id).execute();
  return ok({ ...port, name: change.name, updatedAt: change.now });
}

/** Deletes an unattached port; refused with 409 while a server uses it. */
export async function deletePort(db: Db, actor: Actor, id: string): Promise<NetworkResult<null>> {
  const port = await findPort(db, actor, id);
  if (!port) return portNotFound(id);
  const gone = await db
    .deleteFrom('ports')
    .where('id', '=', id)
    .where('device_id', '=', '')
    .returning('id')
    .executeTakeFirst();
  if (gone || port.deviceId === '') return ok(null);
  return no(
    409,
    'PortInUse',
    `Unable to complete operation on port ${id} for network ${port.networkId}. Port already has an attached device ${port.deviceId}.`,
  );
}

const owns = (actor: Actor, record: { readonly projectId: string }): boolean =>
  isAdmin(actor) || record.projectId === actor.projectId;

const networkNotFound = (id: string) => no(404, 'NetworkNotFound', `Network ${id} could not be found.`);
export const portNotFound = (id: string) => no(404, 'PortNotFound', `Port ${id} could not be found.`);
const overQuota = (resource: string) => no(409, 'OverQuota', `Quota exceeded for resources: ['${resource}'].`);

/** The pool of a subnet of a size that we take; null otherwise. */
function poolFor(cidr: string): AddressPool | null {
  const parsed = parseCidr(cidr);
  return parsed && parsed.prefix >= SHORTEST_PREFIX && parsed.prefix <= LONGEST_PREFIX ? poolOf(parsed) : null;
}

function wishedPool(request: SubnetRequest): NetworkResult<AddressPool> {
  const bad = (message: string) => no(400, 'HTTPBadRequest', message);
  const whole = poolFor(request.cidr);
  if (!whole) return bad(`Invalid input for cidr. Reason: '${request.cidr}' is not an IPv4 network of /16 to /29.`);
  const gateway = request.gateway === undefined ? whole.gateway : parseIpv4(request.gateway);
  const isHost = (address: number | null): address is number =>
    address !== null && address > whole.cidr.network && address < whole.cidr.broadcast;
  if (!isHost(gateway))
    return bad(`Invalid input for gateway_ip. Reason: '${request.gateway}' is no address of ${request.cidr}.`);
  const first = request.pool ? parseIpv4(request.pool.start) : whole.first;
  const last = request.pool ? parseIpv4(request.pool.end) : gateway === whole.last ? whole.last - 1 : whole.last;
  if (!isHost(first) || !isHost(last) || first > last)
    return bad(`Invalid input for allocation_pools. Reason: it is no range of addresses of ${request.cidr}.`);
  if (gateway >= first && gateway <= last) {
    return no(
      409,
      'GatewayConflictWithAllocationPools',
      `Gateway ip ${formatIpv4(gateway)} conflicts with allocation pool ${formatIpv4(first)}-${formatIpv4(last)}.`,
    );
  }
  return ok({ ...whole, gateway, first, last });
}

function subnetRow(subnet: {
  readonly id: string;
  readonly networkId: string;
  readonly name: string;
  readonly projectId: string;
  readonly pool: AddressPool;
  readonly now: number;
}): GlobalTables['subnets'] {
  const { pool } = subnet;
  return {
    id: subnet.id,
    network_id: subnet.networkId,
    name: subnet.name,
    project_id: subnet.projectId,
    cidr: formatCidr(pool.cidr),
    gateway_ip: formatIpv4(pool.gateway),
    pool_start: formatIpv4(pool.first),
    pool_end: formatIpv4(pool.last),
    dns_json: '[]',
    created_at: subnet.now,
  };
}

function isInPoolOf(subnet: SubnetRecord, ip: string): boolean {
  const [address, first, last] = [ip, subnet.poolStart, subnet.poolEnd].map(parseIpv4);
  return address != null && first != null && last != null && address >= first && address <= last;
}
