// Ports in Neutron for a server, before the ledger has them: new ones, and users' own.
//
// Theory of operation. What is to be made or lent is announced first (see neutron.ts): the taking, and of a user's port that
// it is one. A port is one server's at a time: `neutron_lent` has one row for each, and Neutron lends it only as it was
// seen. Whether the project may have the network was asked before, by the mirrored records; whether it may have the port
// is asked here, by the project's id, because ports are made and lent with the service user's rights.
// Refusals are Nova's (nova/network/neutron.py).
import type { Kysely } from 'kysely';
import { badRequest, conflict, forbidden, notFound, refuse } from '../../model/refusal.ts';
import type { Refusal } from '../../model/types.ts';
import type { Neutron, NeutronPort, PortWish as PortWishAtNeutron } from '../../openstack/neutron.ts';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';
import type { FixedIp } from './addresses.ts';
import { networkForPort, noSuchCard } from './interfaces.ts';
import { CANNOT_APPLY } from './server-networks.ts';
import type { NamedPort, PortsWish, PortWish, Taken, TakenPort } from './service.ts';

/** How long a request may be at it. */
const GRACE_MS = 10 * 60_000;
/** How often a port is asked for when something else of it changes meanwhile. */
const TRIES = 5;

/** Who begins to take ports for the server, and who finds that nobody does, holds this name. */
export const takesLock = (serverId: string): string => `ports of ${serverId} elsewhere`;

export async function isTaking(db: Kysely<GlobalTables>, serverId: string): Promise<boolean> {
  const takes = db.selectFrom('neutron_takes').select('id').where('server_id', '=', serverId).limit(1);
  return (await takes.executeTakeFirst()) !== undefined;
}

export async function takePorts(p: Platform, neutron: Neutron, wish: PortsWish): Promise<Taken> {
  if (wish.ports.length === 0) return { kind: 'ok', ports: [] };
  await announce(p, wish);
  const ports: TakenPort[] = [];
  for (const each of wish.ports) {
    const taken = await (each.kind === 'port' ? lend(p, neutron, wish, each.portId) : make(p, neutron, wish, each));
    if ('code' in taken) return { kind: 'refused', refusal: taken };
    ports.push(taken);
  }
  return { kind: 'ok', ports };
}

async function announce(p: Platform, { takeId, serverId }: PortsWish): Promise<void> {
  const now = p.clock.now();
  await p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, takesLock(serverId));
    await trx
      .insertInto('neutron_takes')
      .values({ id: takeId, server_id: serverId, until: now + GRACE_MS })
      .execute();
    await trx
      .insertInto('neutron_servers')
      .values({ server_id: serverId, settled_json: '', created_at: now })
      .onConflict((any) => any.column('server_id').doUpdateSet({ settled_json: '' }))
      .execute();
  });
}

async function make(
  p: Platform,
  neutron: Neutron,
  { serverId, projectId, actor }: PortsWish,
  { networkId: wanted, ip, groupIds }: Extract<PortWish, { kind: 'network' }>,
): Promise<TakenPort | Refusal> {
  const networkId = await networkForPort(p.stores.global, actor, projectId, wanted);
  if (typeof networkId !== 'string') return networkId;
  const { requestId } = actor;
  const fixedIps = await wantedAddresses(p, networkId, ip);
  const said = await neutron.createPort({ serverId, projectId, networkId, fixedIps, groupIds, requestId });
  if (said.kind === 'refused') return refusalOf(said, networkId, ip, serverId);
  return (
    (await takenFrom(p, said.body)) ??
    badRequest(`Network ${networkId} requires a subnet in order to boot instances on.`)
  );
}

/** Null: Neutron's choice. A guest needs an IPv4 address besides an IPv6 one that is named. */
async function wantedAddresses(
  p: Platform,
  networkId: string,
  ip: string | null,
): Promise<PortWishAtNeutron['fixedIps']> {
  if (ip === null || !isIpv6(ip)) return ip === null ? null : [{ ip_address: ip }];
  const subnets = p.stores.global.selectFrom('subnets').select(['id', 'cidr']).where('network_id', '=', networkId);
  const other = (await subnets.orderBy('id').execute()).find(({ cidr }) => !isIpv6(cidr));
  return [{ ip_address: ip }, ...(other ? [{ subnet_id: other.id }] : [])];
}

/** By the name of Neutron's error. */
function refusalOf(
  { status, code, message }: { readonly status: number; readonly code?: string; readonly message: string },
  networkId: string,
  ip: string | null,
  serverId: string,
): Refusal {
  switch (code) {
    case 'OverQuota':
      return forbidden('Maximum number of ports exceeded');
    case 'IpAddressGenerationFailure':
      return badRequest(`No fixed IP addresses available for network: ${networkId}`);
    case 'IpAddressAlreadyAllocated':
    case 'IpAddressInUse':
      return conflict(`Fixed IP address ${ip} is already in use on instance ${serverId}.`);
    case 'InvalidIpForNetwork':
    case 'InvalidIpForSubnet':
      return badRequest(`Fixed IP address ${ip} is not a valid IP address for network ${networkId}.`);
    case 'PortSecurityAndIPRequiredForSecurityGroups':
      return CANNOT_APPLY;
    case 'NetworkNotFound':
      return notFound(`Network ${networkId} could not be found.`);
    default:
      return status === 409 ? conflict(message) : badRequest(message);
  }
}

/** What Neutron has refused of a port that is there already. */
export const inItsWords = ({ status, message }: { readonly status: number; readonly message: string }): Refusal =>
  refuse(status === 404 || status === 409 ? status : 400, message);

async function lend(
  p: Platform,
  neutron: Neutron,
  { serverId, projectId }: PortsWish,
  portId: string,
): Promise<TakenPort | Refusal> {
  const inUse = conflict(`Port ${portId} is still in use.`);
  let announced = false;
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const port = await neutron.port(portId);
    if (!port) return notFound(`Port id ${portId} could not be found.`);
    if (port.project_id !== projectId) return badRequest(`Port ${portId} not usable for instance ${serverId}.`);
    const taken = await takenFrom(p, port);
    if (!taken) return badRequest(`Port ${portId} requires a FixedIP in order to be used.`);
    const otherCard = noSuchCard({ ...taken, vnicType: port['binding:vnic_type'] ?? 'normal' });
    if (otherCard) return otherCard;
    // An answer that was lost has lent it all the same.
    if (port.device_id === serverId && announced) return taken;
    if (port.device_id !== '') return inUse;
    announced ||= await announceLent(p, portId, serverId);
    if (!announced) return inUse;
    if (await neutron.lend(port, serverId)) return taken;
  }
  return inUse;
}

/** False: another server has it, or is about to. */
async function announceLent(p: Platform, portId: string, serverId: string): Promise<boolean> {
  const inserted = await p.stores.global
    .insertInto('neutron_lent')
    .values({ port_id: portId, server_id: serverId })
    .onConflict((any) => any.column('port_id').doNothing())
    .returning('port_id')
    .executeTakeFirst();
  return inserted !== undefined;
}

/** Null: it has no address that a guest of ours can be told. */
async function takenFrom(p: Platform, port: NeutronPort): Promise<TakenPort | null> {
  const { id, network_id: networkId, mac_address: mac, name } = port;
  const { fixedIps } = await ledgerPort(p, port);
  const [first] = fixedIps;
  return first && !isIpv6(first.ip) ? { id, networkId, mac, name, fixedIps } : null;
}

/** The port in the words of the ledger, with its addresses in subnets that are on record: IPv4, which a guest is told, first. */
export async function ledgerPort(p: Platform, port: NeutronPort): Promise<NamedPort> {
  const { id, project_id: projectId, network_id: networkId, device_id: deviceId } = port;
  const onRecord = p.stores.global.selectFrom('subnets').select('id').where('network_id', '=', networkId);
  const subnets = new Set((await onRecord.execute()).map((row) => row.id));
  const fixedIps: readonly FixedIp[] = port.fixed_ips
    .map((each) => ({ subnetId: each.subnet_id, ip: each.ip_address }))
    .filter(({ subnetId }) => subnets.has(subnetId))
    .toSorted((a, b) => Number(isIpv6(a.ip)) - Number(isIpv6(b.ip)));
  return { id, projectId, networkId, deviceId, fixedIps };
}

/** Of an address or a CIDR. */
export const isIpv6 = (ip: string): boolean => ip.includes(':');
