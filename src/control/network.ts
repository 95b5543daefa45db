// Ports of servers: the embedded network service as sagas and the create use case see it.
//
// Theory of operation. A server's port has a fixed MAC and IP for its whole life, wherever the server runs. It was made
// for the server and goes with it, or a user made it and has it back afterwards (network/interfaces.ts). Where it
// may be used is said by its bindings: at most one per host, at most one of them active (a unique partial index). A
// move adds an inactive binding on the target (bindPorts), turns activity over in one statement (activateBindings), and
// takes the binding of the host that was left away (unbindPorts); each has its reverse among the others.
//   absent ── bindPorts ──> inactive ── activateBindings ──> active ── activateBindings of another host ──> inactive
//   any of them ── unbindPorts / deletePortsOfServer ──> absent
// Fencing: each binding carries the generation of the saga that last changed it. A call of an older generation than any
// binding of the server changes nothing and answers `fenced`. Every call raises all bindings that it meets to its own
// generation; fencePorts does only that, for a takeover.
// Every function takes a database or a transaction, is one or two statements (creating a port: three), and is harmless
// when repeated. Two calls of different sagas for one server race by their generations alone: single statements see
// each other's effect whole or not at all. What is not handled: before a server's first port exists, and after its last
// is deleted, no row is there to remember a generation; create and delete run in the transaction that also checks the
// saga's fence.
import { type Kysely, sql } from 'kysely';
import type { GuestPort } from '../host/contract.ts';
import { invariant } from '../lib/errors.ts';
import { formatIpv4, parseCidr, parseIpv4 } from '../model/network.ts';
import { badRequest } from '../model/refusal.ts';
import { isHost, noSubnetFor, subnetsFor } from '../model/subnets.ts';
import type { Refusal } from '../model/types.ts';
import { atomically, exclusively, isListed, isPostgres, type Listed, listed } from '../store/dialect.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { type FixedIp, givenElsewhere, insertPort, portIdFor } from './network/addresses.ts';
import { refusable, refusalIn } from './network/results.ts';
import { addGroupsToPort, checkGroups, defaultGroupOf } from './network/security-groups.ts';
import type { TakenPort } from './network/service.ts';
import { listOf, NEXT } from './network/standard.ts';

/** The owner of servers' ports. */
export const SERVERS = 'compute:nova';

/** A port of a server with what its guest needs to know of the subnet. */
export interface Port {
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  readonly networkId: string;
  readonly networkName: string;
  readonly mac: string;
  /** All its addresses; the first is the one below, which its guest is told. */
  readonly fixedIps: readonly FixedIp[];
  readonly subnetId: string;
  readonly ip: string;
  /** The subnet, e.g. 10.42.0.0/16. */
  readonly cidr: string;
  readonly gateway: string;
  /** Device tag, for the guest's metadata; null: none. */
  readonly tag: string | null;
}

export interface PortRequest {
  readonly serverId: string;
  readonly projectId: string;
  readonly networkId: string;
  /** Which of the server's ports on this network, from 0. */
  readonly nth?: number;
  /** The address to have; absent: any. */
  readonly ip?: string;
  /** Security groups; absent: the project's default one, where the network's ports have any. */
  readonly groupIds?: readonly string[];
  readonly tag?: string | null;
  /** The port as another service has made it, on a network that the project may use; absent: it is made here. */
  readonly taken?: TakenPort;
  /** Host that gets the active binding. */
  readonly host: string;
  /** Fence of the calling saga. */
  readonly generation: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export type PortResult =
  | { readonly kind: 'ok'; readonly port: Port }
  | { readonly kind: 'refused'; readonly refusal: Refusal };
/** `fenced`: a newer generation has been here; nothing was changed and the caller must stop. */
export type BindingResult = 'ok' | 'fenced';

/**
 * Gives the server its port on the network, with the active binding on the host. A server has one port per network and
 * `nth`: asked again, also for another host, the same port is answered, its binding moved to that host.
 * Refused: 400 when the project sees no such network or it has no subnet (Nova's sentences), 409 when no address is
 * left or a newer generation holds the port. To be called in a transaction that a refusal rolls back.
 */
export async function createPortForServer(db: Kysely<GlobalTables>, request: PortRequest): Promise<PortResult> {
  const { serverId, networkId, host, generation } = request;
  const portId = request.taken?.id ?? portIdFor(serverId, networkId, request.nth);
  const refusal = await insertServersPort(db, portId, request);
  if (refusal) return { kind: 'refused', refusal };
  if ((await activateBindings(db, serverId, host, generation)) === 'fenced')
    return refused(409, `Port ${portId} of server ${serverId} is held by a newer operation.`);
  const made = (await portsOfServer(db, serverId)).find((each) => each.id === portId);
  invariant(made, 'a port that was just made is there');
  return { kind: 'ok', port: made };
}

interface SubnetRow {
  readonly port_security: number;
  readonly subnetId: string | null;
  readonly cidr: string | null;
  readonly pools_json: string | null;
  readonly service_types_json: string | null;
  readonly defaultGroup: string | null;
}

/** Of a network that the project may use: its subnets, or one row without. */
const SUBNETS = fixed<GlobalTables, { readonly networkId: string; readonly projectId: string }, SubnetRow>(
  (db, { networkId, projectId }) =>
    db
      .selectFrom('networks as n')
      .leftJoin('subnets as s', 's.network_id', 'n.id')
      .leftJoin('security_groups as g', (join) =>
        // Written out, for the index over default groups.
        join.on('g.project_id', '=', projectId).on('g.is_default', '=', sql.lit(1)),
      )
      .select(['n.port_security', 's.id as subnetId', 's.cidr', 's.pools_json', 's.service_types_json'])
      .select('g.id as defaultGroup')
      .where('n.id', '=', networkId)
      .where((where) => where.or([where('n.shared', '=', 1), where('n.project_id', '=', projectId)]))
      .orderBy('s.created_at')
      .orderBy('s.id')
      // It must be there until the port is: networks are deleted beside this.
      .modifyEnd(isPostgres(db) ? sql`for key share of n` : sql``),
);

/** The same without any binding, with this id. Null: it is there. */
export async function insertServersPort(
  db: Kysely<GlobalTables>,
  portId: string,
  request: Omit<PortRequest, 'host' | 'generation' | 'nth'>,
): Promise<Refusal | null> {
  const { serverId, projectId, networkId, now, taken } = request;
  const common = {
    ...{ id: portId, projectId, networkId, now, tag: request.tag ?? null },
    ...{ deviceId: serverId, deviceOwner: SERVERS },
  };
  if (taken) {
    const port = { ...common, name: taken.name, mac: taken.mac, portSecurity: false };
    return refusalIn(await insertPort(db, port, taken.fixedIps.map(givenElsewhere)));
  }
  const { rows } = await SUBNETS(db, { networkId, projectId });
  const [row] = rows;
  if (!row) return badRequest(`Network ${networkId} could not be found.`);
  const { ip } = request;
  const subnets = subnetsFor(rows.map(withServices), SERVERS);
  if (subnets.length === 0) return badRequest(noSubnetFor(networkId, SERVERS).message);
  const subnet = ip === undefined ? subnets[0] : subnets.find((each) => each.cidr !== null && canHold(each.cidr, ip));
  if (!subnet) return badRequest(`Fixed IP address ${ip} is not a valid IP address for network ${networkId}.`);
  const { subnetId, pools_json: poolsJson } = subnet;
  if (subnetId === null || poolsJson === null)
    return badRequest(`Network ${networkId} requires a subnet in order to boot instances on.`);

  const portSecurity = row.port_security === 1;
  if (!portSecurity && request.groupIds !== undefined) {
    const needs = 'port_security_enabled and subnet associated in order to apply security groups.';
    return badRequest(`Network requires ${needs}`);
  }
  const address = { subnetId, poolsJson, ...(ip === undefined ? {} : { ip }) };
  const inserted = await insertPort(db, { ...common, name: '', portSecurity }, [address]);
  if (inserted.kind === 'refused' || !inserted.value.isNew || !portSecurity) return refusalIn(inserted);
  const secured = await refusable(async () => {
    await checkGroups(db, projectId, request.groupIds ?? []);
    const group = async () => row.defaultGroup ?? (await defaultGroupOf(db, projectId, now));
    await addGroupsToPort(db, portId, request.groupIds ?? [await group()]);
  });
  return refusalIn(secured);
}

const withServices = (row: SubnetRow) => ({ ...row, serviceTypes: listOf(row.service_types_json ?? '[]') });

function canHold(cidr: string, ip: string): boolean {
  const [parsed, address] = [parseCidr(cidr), parseIpv4(ip)];
  return parsed !== null && address !== null && isHost(parsed, address);
}

const refused = (code: Refusal['code'], message: string): PortResult => ({
  kind: 'refused',
  refusal: { code, message },
});

const ports = (db: Kysely<GlobalTables>, serverIds: Listed) =>
  db
    .selectFrom('ports as p')
    .innerJoin('port_addresses as a', 'a.port_id', 'p.id')
    .innerJoin('subnets as s', 's.id', 'a.subnet_id')
    .innerJoin('networks as n', 'n.id', 'p.network_id')
    .select(['p.id', 'p.name', 'p.project_id as projectId', 'p.network_id as networkId', 'n.name as networkName'])
    .select(['a.subnet_id as subnetId', 'p.mac', 'a.ip', 's.cidr', 's.gateway_ip', 'p.tag', 'p.device_id as serverId'])
    .where(isListed(db, 'p.device_id', serverIds))
    .orderBy('p.attached_at')
    .orderBy('p.created_at')
    .orderBy('p.id')
    .orderBy('a.position');

const PORTS = fixed<
  GlobalTables,
  { readonly serverIds: Listed },
  Awaited<ReturnType<ReturnType<typeof ports>['execute']>>[number]
>((db, { serverIds }) => ports(db, serverIds));

/** The server's ports in the order in which it got them. One statement. */
export const portsOfServer = async (db: Kysely<GlobalTables>, serverId: string): Promise<Port[]> =>
  (await portsOfServers(db, [serverId])).get(serverId) ?? [];

/** The same for many servers in one statement, by server id; servers without ports are not in the map. */
export async function portsOfServers(
  db: Kysely<GlobalTables>,
  serverIds: readonly string[],
): Promise<Map<string, Port[]>> {
  const byServer = new Map<string, Port[]>();
  if (serverIds.length === 0) return byServer;
  const { rows } = await PORTS(db, { serverIds: listed(db, serverIds) });
  for (const { serverId, gateway_ip, ...row } of rows) {
    const ports = byServer.get(serverId) ?? [];
    byServer.set(serverId, ports);
    const fixedIp = { subnetId: row.subnetId, ip: row.ip };
    const last = ports.at(-1);
    if (last?.id === row.id) ports[ports.length - 1] = { ...last, fixedIps: [...last.fixedIps, fixedIp] };
    else ports.push({ ...row, fixedIps: [fixedIp], gateway: hostSide(row, gateway_ip) });
  }
  return byServer;
}

/**
 * Where the host stands in a guest's user-mode network: at the subnet's gateway; where there is none, or one outside, at
 * the first address that is not the guest's.
 */
function hostSide({ cidr: text, ip }: Pick<Port, 'cidr' | 'ip'>, gatewayIp: string | null): string {
  const [cidr, gateway] = [parseCidr(text), parseIpv4(gatewayIp ?? '')];
  if (cidr && gateway !== null && isHost(cidr, gateway)) return formatIpv4(gateway);
  const first = (cidr?.network ?? 0) + 1;
  return formatIpv4(formatIpv4(first) === ip ? first + 1 : first);
}

/** What a guest is told of its port. */
export const guestPortOf = ({ id, mac, ip, cidr, gateway }: Port): GuestPort => ({ id, mac, ip, cidr, gateway });

/** The server has no ports any more: its own are gone with their addresses, those that users made are free. */
export async function deletePortsOfServer(db: Kysely<GlobalTables>, serverId: string): Promise<void> {
  await db.deleteFrom('ports').where('device_id', '=', serverId).where('by_user', '=', 0).execute();
  await freePorts(db, serverId);
}

/** The server's ports, or that one of them, are used by nobody and bound nowhere. */
export async function freePorts(db: Kysely<GlobalTables>, serverId: string, portId?: string): Promise<void> {
  let query = db
    .updateTable('ports')
    .set({ device_id: '', device_owner: '', tag: null, attached_at: null, revision: NEXT })
    .where('device_id', '=', serverId);
  if (portId !== undefined) query = query.where('id', '=', portId);
  const freed = (await query.returning('id').execute()).map(({ id }) => id);
  if (freed.length > 0) await db.deleteFrom('port_bindings').where('port_id', 'in', freed).execute();
}

/** Each port of the server has a binding on the host: inactive where it is new, as it was where it is old. */
export async function bindPorts(
  db: Kysely<GlobalTables>,
  serverId: string,
  host: string,
  generation: number,
): Promise<BindingResult> {
  return withPorts(db, serverId, async (trx) => {
    const { rows } = await sql<{ port_id: string }>`
      insert into port_bindings (port_id, host, active, generation)
      select p.id, cast(${host} as text), 0, cast(${generation} as bigint) from ports p
      where p.device_id = ${serverId} and ${notFenced(serverId, generation)}
      on conflict (port_id, host) do update set generation = excluded.generation
      returning port_id`.execute(trx);
    return rows.length > 0 ? 'ok' : fencedOrPortless(trx, serverId, generation);
  });
}

/**
 * The host's bindings are active and all others of the server's ports are not. A binding that the host does not have
 * yet is made, so that a server is never left without a usable port.
 */
export async function activateBindings(
  db: Kysely<GlobalTables>,
  serverId: string,
  host: string,
  generation: number,
): Promise<BindingResult> {
  return withPorts(db, serverId, async (trx) => {
    // Row by row in this order: the index of one active binding per port holds after every row, on both databases.
    const { rows } = await sql<{ port_id: string }>`
      insert into port_bindings (port_id, host, active, generation)
      select wanted.port_id, wanted.host, wanted.active, wanted.generation from (
        select b.port_id as port_id, b.host as host, 0 as active, cast(${generation} as bigint) as generation
        from port_bindings b join ports p on p.id = b.port_id
        where p.device_id = ${serverId} and b.host <> ${host}
        union all
        select p.id, cast(${host} as text), 1, cast(${generation} as bigint) from ports p where p.device_id = ${serverId}
      ) wanted
      where ${notFenced(serverId, generation)}
      order by wanted.active
      on conflict (port_id, host) do update set active = excluded.active, generation = excluded.generation
      returning port_id`.execute(trx);
    return rows.length > 0 ? 'ok' : fencedOrPortless(trx, serverId, generation);
  });
}

/** The host has no bindings of the server's ports any more, but for inactive ones that an operator asked for. */
export async function unbindPorts(
  db: Kysely<GlobalTables>,
  serverId: string,
  host: string,
  generation: number,
): Promise<BindingResult> {
  return withPorts(db, serverId, async (trx) => {
    // First the bindings that stay learn of the generation: those that go can no longer refuse an older caller.
    if ((await fencePorts(trx, serverId, generation)) === 'fenced') return 'fenced';
    await trx
      .deleteFrom('port_bindings')
      .where('host', '=', host)
      .where('generation', '<=', generation)
      .where('by_operator', '=', 0)
      .where('port_id', 'in', (from) => from.selectFrom('ports').select('id').where('device_id', '=', serverId))
      .execute();
    return 'ok';
  });
}

/** From now on every older generation is refused. Has no other effect. */
export async function fencePorts(
  db: Kysely<GlobalTables>,
  serverId: string,
  generation: number,
): Promise<BindingResult> {
  return withPorts(db, serverId, async (trx) => {
    const { rows } = await sql<{ port_id: string }>`
      update port_bindings set generation = ${generation}
      where port_id in (select p.id from ports p where p.device_id = ${serverId}) and ${notFenced(serverId, generation)}
      returning port_id`.execute(trx);
    return rows.length > 0 ? 'ok' : fencedOrPortless(trx, serverId, generation);
  });
}

/** Whoever changes bindings of the server's ports holds this name. */
export const portsLock = (serverId: string): string => `ports of ${serverId}`;

/**
 * Runs `work` while nobody else changes the server's bindings: what it finds out about generations stays true until it
 * has written. On SQLite each of its statements is that by itself.
 */
const withPorts = <T>(
  db: Kysely<GlobalTables>,
  serverId: string,
  work: (db: Kysely<GlobalTables>) => Promise<T>,
): Promise<T> => {
  if (!isPostgres(db)) return work(db);
  return atomically(db, async (trx) => {
    await exclusively(trx, portsLock(serverId));
    return work(trx);
  });
};

const notFenced = (serverId: string, generation: number) => sql`not exists (
  select 1 from port_bindings newer join ports q on q.id = newer.port_id
  where q.device_id = ${serverId} and newer.generation > ${generation})`;

/** No row was changed: because a newer generation is there, or because there is nothing to change? */
async function fencedOrPortless(
  db: Kysely<GlobalTables>,
  serverId: string,
  generation: number,
): Promise<BindingResult> {
  const newer = await db
    .selectFrom('port_bindings as b')
    .innerJoin('ports as p', 'p.id', 'b.port_id')
    .select('b.port_id')
    .where('p.device_id', '=', serverId)
    .where('b.generation', '>', generation)
    .limit(1)
    .executeTakeFirst();
  return newer ? 'fenced' : 'ok';
}
