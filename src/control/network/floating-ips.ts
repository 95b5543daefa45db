// Floating IPs: addresses of an external network that a project has, and the port that each leads to.
//
// Theory of operation. A floating IP has a port of its own on the external network, which holds its address and which it
// alone makes and deletes. It leads to one address of one port, through the router that joins that port's subnet with
// its network; a unique index keeps a second one off the same address. When the port goes, by whatever way, it leads to
// none again (the column is emptied with the port); so fixed_ip and router_id mean something only beside fixed_port_id.
// No host translates anything: what comes in, comes through the gateway (doors.ts), where there is one. Sentences: neutron/db/l3_db.py, neutron-lib/exceptions/l3.py.
import type { Selectable } from 'kysely';
import { newId } from '../../lib/ids.ts';
import { wrongDomain, wrongRelativeName } from '../../model/dns-names.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { atomically, exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { insertPort } from './addresses.ts';
import { FLOATING_IP, GATEWAY, INTERFACE } from './holders.ts';
import { type Collection, one, page, type Selection } from './listing.ts';
import { networkFor } from './networks.ts';
import { sourcesOf } from './port-rules.ts';
import { keepPort, type PortRecord } from './ports.ts';
import { claimQuota, NETWORKS } from './quotas.ts';
import {
  absent,
  accepted,
  type NetworkResult,
  no,
  refusable,
  refuseWith,
  wrongAttribute,
  wrongText,
} from './results.ts';
import { changed, type Db, given, type Standard, standardOf } from './standard.ts';
import { subnetsOf } from './subnets.ts';

export interface FloatingIpTarget {
  readonly port: TargetPort;
  readonly fixedIp: string;
  readonly routerId: string | null;
}
type TargetPort = Pick<
  PortRecord,
  'id' | 'name' | 'networkId' | 'mac' | 'adminStateUp' | 'deviceId' | 'deviceOwner' | 'host'
>;
export interface FloatingIpRecord extends Standard {
  readonly networkId: string;
  readonly ip: string;
  /** Where it leads; null: nowhere. */
  readonly target: FloatingIpTarget | null;
  /** Records: nothing here tells a name server; ''. */
  readonly dnsName: string;
  readonly dnsDomain: string;
}
export interface Association {
  /** Null: it shall lead nowhere. */
  readonly portId: string | null;
  /** Absent: the port's only address. */
  readonly fixedIp?: string | undefined;
}
export interface FloatingIpRequest {
  readonly networkId: string;
  readonly subnetId?: string | undefined;
  /** The address to have; absent: any. */
  readonly ip?: string | undefined;
  readonly association?: Association | undefined;
  readonly description?: string | undefined;
  readonly dnsName?: string | undefined;
  readonly dnsDomain?: string | undefined;
  readonly now: number;
}
export interface FloatingIpFilter {
  readonly portIds?: readonly string[];
  readonly routerIds?: readonly string[];
  readonly fixedIps?: readonly string[];
  /** Whether it leads somewhere. */
  readonly active?: boolean;
}

export const FLOATING_IP_COLUMNS: Collection = {
  table: 'floating_ips',
  alias: 'f',
  columns: {
    ...{ id: 'id', description: 'description', project_id: 'project_id', tenant_id: 'project_id' },
    ...{ floating_network_id: 'network_id', floating_ip_address: 'ip', created_at: 'created_at' },
    ...{ revision_number: 'revision', dns_name: 'dns_name', dns_domain: 'dns_domain' },
  },
};

/** The floating IPs that the actor sees. */
export async function listFloatingIps(
  db: Db,
  actor: Actor,
  selection: Selection,
  { portIds, routerIds, fixedIps, active }: FloatingIpFilter = {},
): Promise<FloatingIpRecord[]> {
  let query = db
    .selectFrom('floating_ips as f')
    .leftJoin('ports as p', 'p.id', 'f.fixed_port_id')
    .leftJoin('port_bindings as b', (join) => join.onRef('b.port_id', '=', 'p.id').on('b.active', '=', 1))
    .selectAll('f')
    .select(['p.name as portName', 'p.network_id as portNetwork', 'p.mac', 'p.admin_state_up', 'p.device_id'])
    .select(['p.holder_id', 'p.device_owner', 'b.host']);
  if (!isAdmin(actor)) query = query.where('f.project_id', '=', actor.projectId);
  if (portIds) query = query.where('f.fixed_port_id', 'in', portIds);
  if (routerIds) query = query.where('f.router_id', 'in', routerIds).where('f.fixed_port_id', 'is not', null);
  if (fixedIps) query = query.where('f.fixed_ip', 'in', fixedIps).where('f.fixed_port_id', 'is not', null);
  if (active !== undefined) query = query.where('f.fixed_port_id', active ? 'is not' : 'is', null);
  return (await page(query, FLOATING_IP_COLUMNS, selection)).map(floatingIpOf);
}

export const findFloatingIp = async (db: Db, actor: Actor, id: string): Promise<FloatingIpRecord | null> =>
  (await listFloatingIps(db, actor, one(id)))[0] ?? null;

/** Takes an address of an external network for the actor's project. */
export async function createFloatingIp(
  db: Db,
  actor: Actor,
  request: FloatingIpRequest,
): Promise<NetworkResult<FloatingIpRecord>> {
  const { dnsName = '', dnsDomain = '' } = request;
  const wrong = wrongText(request) ?? wrongDns(dnsName, dnsDomain);
  if (wrong) return wrong;
  const id = newId();
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const network = await networkFor(trx, actor, request.networkId);
      if (!network.external) bad(`Network ${network.id} is not a valid external network`);
      await claimQuota(trx, 'floatingip', actor.projectId);
      const subnets = await subnetsOf(trx, network.id);
      if (subnets.length === 0) bad(`Network ${network.id} does not contain any IPv4 subnet`);
      const { subnetId, ip, now } = request;
      const wish = subnetId === undefined && ip === undefined ? undefined : [{ subnetId, ip }];
      const portId = newId();
      const port = {
        ...{ id: portId, name: '', projectId: '', networkId: network.id, deviceId: '', holderId: id },
        ...{ deviceOwner: FLOATING_IP, portSecurity: false, now },
      };
      accepted(await insertPort(trx, port, sourcesOf(network.id, subnets, FLOATING_IP, wish)));
      const address = await trx
        .selectFrom('port_addresses')
        .select('ip')
        .where('port_id', '=', portId)
        .executeTakeFirst();
      await trx
        .insertInto('floating_ips')
        .values({
          ...{ id, project_id: actor.projectId, description: request.description ?? '', network_id: network.id },
          ...{ port_id: portId, ip: address?.ip ?? '', fixed_port_id: null, fixed_ip: null, router_id: null },
          ...{ dns_name: dnsName.toLowerCase(), dns_domain: dnsDomain.toLowerCase() },
          ...{ created_at: now, updated_at: now },
        })
        .execute();
      if (request.association) await associate(trx, actor, await seen(trx, actor, id), request.association);
      return seen(trx, actor, id);
    }),
  );
}

/** Lets a floating IP lead somewhere else, or nowhere; changes its description. */
export async function updateFloatingIp(
  db: Db,
  actor: Actor,
  id: string,
  change: {
    readonly association?: Association | undefined;
    readonly description?: string | undefined;
    readonly now: number;
  },
): Promise<NetworkResult<FloatingIpRecord>> {
  const wrong = wrongText(change);
  if (wrong) return wrong;
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const floating = await seen(trx, actor, id);
      if (change.association) await associate(trx, actor, floating, change.association);
      await trx
        .updateTable('floating_ips')
        .set({ ...given(change.description, (description) => ({ description })), ...changed(change.now) })
        .where('id', '=', id)
        .execute();
      return seen(trx, actor, id);
    }),
  );
}

/** Gives a floating IP's address back. */
export const deleteFloatingIp = (db: Db, actor: Actor, id: string): Promise<NetworkResult<null>> =>
  refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const floating = await seen(trx, actor, id);
      await trx.deleteFrom('floating_ips').where('id', '=', floating.id).execute();
      await trx.deleteFrom('ports').where('holder_id', '=', id).where('device_owner', '=', FLOATING_IP).execute();
      return null;
    }),
  );

const isBad = (message: string) => no(400, 'BadRequest', `Bad floatingip request: ${message}.`);
const bad = (message: string): never => refuseWith(isBad(message));

function wrongDns(name: string, domain: string) {
  const wrong =
    wrongAttribute('dns_name', wrongRelativeName(name)) ?? wrongAttribute('dns_domain', wrongDomain(domain));
  if (wrong || (name === '') === (domain === '')) return wrong;
  return name === ''
    ? isBad('dns_domain cannot be specified without a dns_name')
    : isBad('dns_name cannot be specified without a dns_domain');
}

async function seen(trx: Db, actor: Actor, id: string): Promise<FloatingIpRecord> {
  return (await findFloatingIp(trx, actor, id)) ?? refuseWith(absent('floatingip', id));
}

async function associate(trx: Db, actor: Actor, floating: FloatingIpRecord, wish: Association): Promise<void> {
  const set = (columns: { fixed_port_id: string | null; fixed_ip: string | null; router_id: string | null }) =>
    trx.updateTable('floating_ips').set(columns).where('id', '=', floating.id).execute();
  if (wish.portId === null) {
    if (wish.fixedIp !== undefined) bad('fixed_ip_address cannot be specified without a port_id');
    await set({ fixed_port_id: null, fixed_ip: null, router_id: null });
    return;
  }
  const port = await keepPort(trx, actor, wish.portId);
  if (port.projectId !== floating.projectId) {
    const said = `Port ${port.id} is associated with a different tenant than Floating IP ${floating.id} and therefore cannot be bound`;
    bad(said);
  }
  const { ip, subnetId } = chosenAddress(port, wish.fixedIp);
  const routerId = await routerBetween(trx, floating.networkId, subnetId);
  if (routerId === null) {
    const said = `External network ${floating.networkId} is not reachable from subnet ${subnetId}.  Therefore, cannot associate Port ${port.id} with a Floating IP.`;
    refuseWith(no(404, 'ExternalGatewayForFloatingIPNotFound', said));
  }
  const other = await trx
    .selectFrom('floating_ips')
    .select('id')
    .where('fixed_port_id', '=', port.id)
    .where('fixed_ip', '=', ip)
    .where('id', '<>', floating.id)
    .executeTakeFirst();
  if (other) {
    const said = `Cannot associate floating IP ${floating.ip} (${floating.id}) with port ${port.id} using fixed IP ${ip}, as that fixed IP already has a floating IP on external network ${floating.networkId}.`;
    refuseWith(no(409, 'FloatingIPPortAlreadyAssociated', said));
  }
  await set({ fixed_port_id: port.id, fixed_ip: ip, router_id: routerId });
}

function chosenAddress(port: PortRecord, wished: string | undefined) {
  const [first, ...more] = port.fixedIps;
  if (!first) return bad(`Cannot add floating IP to port ${port.id} that has no fixed IPv4 addresses`);
  if (wished !== undefined) {
    const found = port.fixedIps.find((each) => each.ip === wished);
    return found ?? bad(`Port ${port.id} does not have fixed ip ${wished}`);
  }
  if (more.length === 0) return first;
  const said = `Port ${port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP`;
  return bad(said);
}

/** The router with an interface on the subnet and its gateway on the network; the oldest of several. */
async function routerBetween(trx: Db, networkId: string, subnetId: string): Promise<string | null> {
  const row = await trx
    .selectFrom('ports as p')
    .innerJoin('port_addresses as a', 'a.port_id', 'p.id')
    .innerJoin('routers as r', 'r.id', 'p.holder_id')
    .innerJoin('ports as g', (join) => join.onRef('g.holder_id', '=', 'r.id').on('g.device_owner', '=', GATEWAY))
    .select('r.id')
    .where('p.device_owner', '=', INTERFACE)
    .where('a.subnet_id', '=', subnetId)
    .where('g.network_id', '=', networkId)
    .orderBy('r.created_at')
    .limit(1)
    .executeTakeFirst();
  return row?.id ?? null;
}

type Ports = GlobalTables['ports'];
type Row = Selectable<GlobalTables['floating_ips']> & {
  readonly [K in 'mac' | 'device_id' | 'holder_id' | 'device_owner']: Selectable<Ports>[K] | null;
} & { readonly portName: string | null; readonly portNetwork: string | null; readonly host: string | null } & {
  readonly admin_state_up: number | null;
};

const floatingIpOf = (row: Row): FloatingIpRecord => ({
  ...standardOf(row),
  networkId: row.network_id,
  ip: row.ip,
  dnsName: row.dns_name,
  dnsDomain: row.dns_domain,
  target:
    row.fixed_port_id === null
      ? null
      : { port: targetPortOf(row.fixed_port_id, row), fixedIp: row.fixed_ip ?? '', routerId: row.router_id },
});

/** The port is there: with it the floating IP would lead nowhere. */
const targetPortOf = (id: string, row: Row): TargetPort => ({
  ...{ id, name: row.portName ?? '', networkId: row.portNetwork ?? '', mac: row.mac ?? '', host: row.host },
  ...{ adminStateUp: row.admin_state_up === 1, deviceId: row.device_id || row.holder_id || '' },
  deviceOwner: row.device_owner ?? '',
});
