// Subnets as the network API's users see and change them.
//
// Theory of operation. A subnet belongs to a network and keeps its CIDR for life; no two subnets of a network overlap.
// Gateway and pools can change while nobody is in the way: a router that has the gateway's address keeps it, and no
// port has the new one's. Ports that have addresses keep them whatever becomes of the pools. A guest that runs is not
// told of a new gateway, which would cost it its card: it learns it when it is next defined on a host, or matched while
// it is off. Who sees a network sees its subnets, but for external networks, whose subnets are their owner's business
// (Neutron's get_subnet). What a subnet says of DHCP, name servers and routes is kept and shown; guests are told
// address, gateway and their host's own name server.
import type { Selectable } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { formatCidr, formatIpv4, parseCidr } from '../../model/network.ts';
import { overlap, planSubnet, type SubnetPlan } from '../../model/subnets.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { atomically, exclusively, forUpdate } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type Collection, one, page, type Selection } from './listing.ts';
import { type NetworkRecord, networkFor } from './networks.ts';
import { claimQuota, NETWORKS } from './quotas.ts';
import {
  absent,
  disallowed,
  invalidInput,
  type NetworkResult,
  no,
  ok,
  owns,
  refusable,
  refused,
  refuseWith,
  wrongText,
} from './results.ts';
import { changed, type Db, flag, given, listOf, type Standard, standardOf } from './standard.ts';

export interface PoolText {
  readonly start: string;
  readonly end: string;
}
export interface HostRoute {
  readonly destination: string;
  readonly nexthop: string;
}

export interface SubnetRecord extends Standard {
  readonly name: string;
  readonly networkId: string;
  readonly cidr: string;
  /** Null: it has none. */
  readonly gateway: string | null;
  readonly pools: readonly PoolText[];
  readonly dns: readonly string[];
  readonly routes: readonly HostRoute[];
  readonly enableDhcp: boolean;
  /** The device owners whose ports have addresses of it; none: all. */
  readonly serviceTypes: readonly string[];
}

export interface SubnetChange {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  /** Null: none. Absent when it is made: the first host address. */
  readonly gateway?: string | null | undefined;
  /** Absent when it is made: all addresses but the gateway's. */
  readonly pools?: readonly PoolText[] | undefined;
  readonly dns?: readonly string[] | undefined;
  readonly routes?: readonly HostRoute[] | undefined;
  readonly enableDhcp?: boolean | undefined;
  readonly serviceTypes?: readonly string[] | undefined;
}

export interface SubnetRequest extends SubnetChange {
  readonly networkId: string;
  readonly cidr: string;
  readonly now: number;
}

/** neutron/conf/common.py: max_dns_nameservers, max_subnet_host_routes */
const MAX_NAME_SERVERS = 5;
const MAX_ROUTES = 20;

export const SUBNET_COLUMNS: Collection = {
  table: 'subnets',
  alias: 's',
  columns: {
    ...{ id: 'id', name: 'name', description: 'description', project_id: 'project_id', tenant_id: 'project_id' },
    ...{ network_id: 'network_id', cidr: 'cidr', gateway_ip: 'gateway_ip', enable_dhcp: 'enable_dhcp' },
    ...{ created_at: 'created_at', revision_number: 'revision' },
  },
};

/** The subnets that the actor sees. */
export async function listSubnets(db: Db, actor: Actor, selection: Selection): Promise<SubnetRecord[]> {
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
  return (await page(query, SUBNET_COLUMNS, selection)).map(subnetOf);
}

export const findSubnet = async (db: Db, actor: Actor, id: string): Promise<SubnetRecord | null> =>
  (await listSubnets(db, actor, one(id)))[0] ?? null;

/** All subnets of a network, oldest first, whoever asks. */
export async function subnetsOf(db: Db, networkId: string): Promise<SubnetRecord[]> {
  const query = db.selectFrom('subnets').selectAll().where('network_id', '=', networkId);
  return (await query.orderBy('created_at').orderBy('id').execute()).map(subnetOf);
}

/** Gives a network a subnet. */
export async function createSubnet(
  db: Db,
  actor: Actor,
  request: SubnetRequest & { readonly name: string },
): Promise<NetworkResult<SubnetRecord>> {
  const wrong = wrongText(request) ?? wrongOptions(request);
  if (wrong) return wrong;
  const plan = planSubnet(request);
  if ('code' in plan) return refused(plan);
  const id = newId();
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const network = await networkFor(trx, actor, request.networkId);
      if (!owns(actor, network)) refuseWith(disallowed('create_subnet'));
      await claimQuota(trx, 'subnet', network.projectId);
      await refuseOverlap(trx, network, plan);
      await trx
        .insertInto('subnets')
        .values(subnetRow({ ...request, id, projectId: network.projectId, plan }))
        .execute();
      return seen(trx, actor, id);
    }),
  );
}

/** Changes what of a subnet can change: all but its network and its CIDR. */
export async function updateSubnet(
  db: Db,
  actor: Actor,
  id: string,
  change: SubnetChange & { readonly now: number },
): Promise<NetworkResult<SubnetRecord>> {
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const subnet = await seen(trx, actor, id);
      if (!owns(actor, subnet)) refuseWith(disallowed('update_subnet'));
      const wrong = wrongText(change) ?? wrongOptions(change);
      if (wrong) refuseWith(wrong);
      const { gateway = subnet.gateway, pools = subnet.pools } = change;
      const plan = planSubnet({ cidr: subnet.cidr, gateway, pools });
      if ('code' in plan) return refuseWith(refused(plan));
      const { gateway_ip, pools_json } = planColumns(plan);
      if (subnet.gateway !== null && gateway_ip !== subnet.gateway) await refuseRouted(trx, subnet);
      if (gateway_ip !== null && gateway_ip !== subnet.gateway) await refuseTaken(trx, subnet, gateway_ip);
      await trx
        .updateTable('subnets')
        .set({
          ...columnsOf(change),
          ...given(change.gateway, () => ({ gateway_ip })),
          ...given(change.pools, () => ({ pools_json })),
          ...changed(change.now),
        })
        .where('id', '=', id)
        .execute();
      return seen(trx, actor, id);
    }),
  );
}

/** Deletes a subnet; refused with 409 while a port has an address of it. */
export async function deleteSubnet(db: Db, actor: Actor, id: string): Promise<NetworkResult<null>> {
  const subnet = await findSubnet(db, actor, id);
  if (!subnet) return absent('subnet', id);
  if (!owns(actor, subnet)) return disallowed('delete_subnet');
  return atomically(db, async (trx) => {
    await exclusively(trx, NETWORKS);
    // As with networks.
    await trx.selectFrom('subnets').select('id').where('id', '=', id).modifyEnd(forUpdate(trx)).execute();
    const used = trx.selectFrom('port_addresses').select('port_id').where('subnet_id', '=', id).limit(1);
    if (await used.executeTakeFirst()) {
      const reason = 'One or more ports have an IP allocation from this subnet';
      return no(409, 'SubnetInUse', `Unable to complete operation on subnet ${id}: ${reason}.`);
    }
    await trx.deleteFrom('subnets').where('id', '=', id).execute();
    return ok(null);
  });
}

/** The row of a new subnet. */
export function subnetRow(
  subnet: SubnetChange & {
    readonly id: string;
    readonly networkId: string;
    readonly projectId: string;
    readonly name: string;
    readonly plan: SubnetPlan;
    readonly now: number;
  },
) {
  return {
    ...{ id: subnet.id, network_id: subnet.networkId, project_id: subnet.projectId, name: subnet.name },
    ...columnsOf(subnet),
    ...planColumns(subnet.plan),
    ...{ cidr: formatCidr(subnet.plan.cidr), created_at: subnet.now, updated_at: subnet.now },
  };
}

const planColumns = ({ gateway, pools }: SubnetPlan) => ({
  gateway_ip: gateway === null ? null : formatIpv4(gateway),
  pools_json: JSON.stringify(pools.map(({ first, last }) => [formatIpv4(first), formatIpv4(last)])),
});

const columnsOf = (change: SubnetChange) => ({
  ...given(change.name, (name) => ({ name })),
  ...given(change.description, (description) => ({ description })),
  ...given(change.dns, (dns) => ({ dns_json: JSON.stringify(dns) })),
  ...given(change.routes, (routes) => ({ routes_json: JSON.stringify(routes) })),
  ...given(change.enableDhcp, (dhcp) => ({ enable_dhcp: flag(dhcp) })),
  ...given(change.serviceTypes, (types) => ({ service_types_json: JSON.stringify(types) })),
});

const subnetOf = (row: SubnetRow): SubnetRecord => ({
  ...standardOf(row),
  name: row.name,
  networkId: row.network_id,
  cidr: row.cidr,
  gateway: row.gateway_ip,
  pools: listOf<[string, string]>(row.pools_json).map(([start, end]) => ({ start, end })),
  dns: listOf(row.dns_json),
  routes: listOf<HostRoute>(row.routes_json),
  enableDhcp: row.enable_dhcp === 1,
  serviceTypes: listOf(row.service_types_json),
});
type SubnetRow = Selectable<GlobalTables['subnets']>;

async function seen(trx: Db, actor: Actor, id: string): Promise<SubnetRecord> {
  return (await findSubnet(trx, actor, id)) ?? refuseWith(absent('subnet', id));
}

function wrongOptions({ dns = [], routes = [], serviceTypes = [] }: SubnetChange) {
  const nobody = serviceTypes.find((type) => !/^(compute|network|neutron):/.test(type));
  if (nobody !== undefined) {
    const message = `Subnet service type ${nobody} does not correspond to a valid device owner.`;
    return no(400, 'InvalidSubnetServiceType', message);
  }
  if (dns.length > MAX_NAME_SERVERS) {
    const message = `Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit ${MAX_NAME_SERVERS}.`;
    return no(400, 'DNSNameServersExhausted', message);
  }
  if (routes.length > MAX_ROUTES) {
    const message = `Unable to complete operation for new subnet. The number of host routes exceeds the limit ${MAX_ROUTES}.`;
    return no(400, 'HostRoutesExhausted', message);
  }
  const wrong = routes.find((route) => parseCidr(route.destination) === null);
  return wrong ? invalidInput(`Invalid destination of a route: ${wrong.destination.slice(0, 50)}`) : null;
}

async function refuseOverlap(trx: Db, network: NetworkRecord, { cidr }: SubnetPlan): Promise<void> {
  for (const other of await subnetsOf(trx, network.id)) {
    const parsed = parseCidr(other.cidr);
    if (!parsed || !overlap(parsed, cidr)) continue;
    const said = `Requested subnet with cidr: ${formatCidr(cidr)} for network: ${network.id} overlaps with another subnet`;
    refuseWith(invalidInput(said));
  }
}

/** Neutron's GatewayIpInUse: a router's port has the gateway's address. */
async function refuseRouted(trx: Db, { id, gateway }: SubnetRecord): Promise<void> {
  const port = await trx
    .selectFrom('port_addresses as a')
    .innerJoin('ports as p', 'p.id', 'a.port_id')
    .select('p.id')
    .where('a.subnet_id', '=', id)
    .where('a.ip', '=', gateway)
    .where('p.device_owner', 'like', 'network:router%')
    .executeTakeFirst();
  if (!port) return;
  const message = `Current gateway ip ${gateway} already in use by port ${port.id}. Unable to update.`;
  refuseWith(no(409, 'GatewayIpInUse', message));
}

/** A guest's host stands at the gateway's address: no port can have that but a router's. */
async function refuseTaken(trx: Db, { id, networkId }: SubnetRecord, gateway: string): Promise<void> {
  const port = await trx
    .selectFrom('port_addresses as a')
    .innerJoin('ports as p', 'p.id', 'a.port_id')
    .select('p.id')
    .where('a.subnet_id', '=', id)
    .where('a.ip', '=', gateway)
    .where('p.device_owner', 'not like', 'network:router%')
    .executeTakeFirst();
  if (!port) return;
  const message = `Unable to complete operation for network ${networkId}. The IP address ${gateway} is in use.`;
  refuseWith(no(409, 'IpAddressInUse', message));
}
