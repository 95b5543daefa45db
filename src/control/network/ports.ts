// Ports as the network API's users see them: lists, and what may be done to one.
//
// Theory of operation. A port that a server uses belongs to the moves (control/network.ts): they alone write device_id
// and bindings. Its user may still rename it, change its groups and addresses, and delete it; then the server has lost
// the interface, and it is owed that its guest loses the card (owed-cards.ts). A port that no server uses may be held by a router or a
// floating IP (then it goes with them alone: holders.ts), or by whatever its user says (`device_id`, `device_owner`):
// nothing here looks at that. Making ports: port-create.ts; changing them: port-update.ts.
import type { Selectable } from 'kysely';
import { type Actor, isAdmin } from '../../model/types.ts';
import { atomically, exclusively, forKeyShare } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { FixedIp } from './addresses.ts';
import { HELD } from './holders.ts';
import { type Collection, one, page, type Selection } from './listing.ts';
import { oweCards } from './owed-cards.ts';
import type { BindingProfile } from './port-rules.ts';
import { NETWORKS } from './quotas.ts';
import { absent, type NetworkResult, no, ok, refuseWith } from './results.ts';
import { groupsOfPorts } from './security-groups.ts';
import { type Db, listOf, type Standard, standardOf } from './standard.ts';

export interface AddressPair {
  readonly ip_address: string;
  readonly mac_address: string;
}
export interface DhcpOption {
  readonly opt_name: string;
  readonly opt_value: string;
  readonly ip_version: number;
}

export interface PortRecord extends Standard {
  readonly name: string;
  readonly networkId: string;
  readonly mac: string;
  readonly fixedIps: readonly FixedIp[];
  /** The server that uses it, or ''. */
  readonly serverId: string;
  /** As it is shown: the server, or what else has it. */
  readonly deviceId: string;
  readonly deviceOwner: string;
  /** Host of the active binding; null: none. */
  readonly host: string | null;
  /** Where an operator says that it is, while no server uses it; ''. */
  readonly wantedHost: string;
  readonly adminStateUp: boolean;
  readonly portSecurity: boolean;
  readonly groupIds: readonly string[];
  readonly addressPairs: readonly AddressPair[];
  readonly dhcpOptions: readonly DhcpOption[];
  readonly dnsName: string;
  readonly vnicType: string;
  /** That of its active binding, or else its own. */
  readonly profile: BindingProfile;
}

/** What is asked for besides columns; each given field must be one of its values. */
export interface PortFilter {
  readonly deviceIds?: readonly string[];
  readonly ips?: readonly string[];
  /** Parts of addresses. */
  readonly ipParts?: readonly string[];
  readonly subnetIds?: readonly string[];
  readonly groupIds?: readonly string[];
  readonly hosts?: readonly string[];
  readonly active?: boolean;
}

export const PORT_COLUMNS: Collection = {
  table: 'ports',
  alias: 'p',
  columns: {
    ...{ id: 'id', name: 'name', description: 'description', project_id: 'project_id', tenant_id: 'project_id' },
    ...{ network_id: 'network_id', device_owner: 'device_owner', mac_address: 'mac', dns_name: 'dns_name' },
    ...{ admin_state_up: 'admin_state_up', port_security_enabled: 'port_security', created_at: 'created_at' },
    ...{ revision_number: 'revision', 'binding:vnic_type': 'vnic_type' },
  },
};

/** The prefix of owners whose ports are the service's own. */
const SERVICE = 'network:';

/** Routers' ports are up as soon as they are there; others where a binding of theirs is. */
export const isActive = (port: Pick<PortRecord, 'host' | 'deviceOwner' | 'adminStateUp'>): boolean =>
  port.adminStateUp && (port.host !== null || port.deviceOwner.startsWith(`${SERVICE}router`));

/** The ports the actor sees. */
export async function listPorts(
  db: Db,
  actor: Actor,
  selection: Selection,
  filter: PortFilter = {},
): Promise<PortRecord[]> {
  let query = db
    .selectFrom('ports as p')
    .leftJoin('port_bindings as b', (join) => join.onRef('b.port_id', '=', 'p.id').on('b.active', '=', 1))
    .selectAll('p')
    .select(['b.host as host', 'b.profile_json as boundProfile']);
  if (!isAdmin(actor)) query = query.where('p.project_id', '=', actor.projectId);
  const { deviceIds, ips, ipParts, subnetIds, groupIds, hosts, active } = filter;
  if (deviceIds)
    query = query.where((where) =>
      where.or([where('p.device_id', 'in', deviceIds), where('p.holder_id', 'in', deviceIds)]),
    );
  if (ips || ipParts || subnetIds) {
    let holding = db.selectFrom('port_addresses as a').select('a.port_id');
    if (ips) holding = holding.where('a.ip', 'in', ips);
    if (ipParts) {
      const likely = ipParts.map((part) => `%${part.replaceAll(/[\\%_]/g, '')}%`);
      holding = holding.where((where) => where.or(likely.map((part) => where('a.ip', 'like', part))));
    }
    if (subnetIds) holding = holding.where('a.subnet_id', 'in', subnetIds);
    query = query.where('p.id', 'in', holding);
  }
  if (groupIds)
    query = query.where(
      'p.id',
      'in',
      db.selectFrom('port_security_groups').select('port_id').where('group_id', 'in', groupIds),
    );
  if (hosts)
    query = query.where((where) => where.or([where('b.host', 'in', hosts), where('p.wanted_host', 'in', hosts)]));
  if (active !== undefined)
    query = query.where((where) => {
      const up = where.and([
        where('p.admin_state_up', '=', 1),
        where.or([where('b.host', 'is not', null), where('p.device_owner', 'like', `${SERVICE}router%`)]),
      ]);
      return active ? up : where.not(up);
    });
  return complete(db, await page(query, PORT_COLUMNS, selection));
}

export const findPort = async (db: Db, actor: Actor, id: string): Promise<PortRecord | null> =>
  (await listPorts(db, actor, one(id)))[0] ?? null;

/**
 * The port, which is there until the transaction ends: those of servers go with them beside the other writers.
 * @throws Refused 404
 */
export async function keepPort(trx: Db, actor: Actor, id: string): Promise<PortRecord> {
  await trx.selectFrom('ports').select('id').where('id', '=', id).modifyEnd(forKeyShare(trx)).execute();
  return (await findPort(trx, actor, id)) ?? refuseWith(absent('port', id));
}

/**
 * Deletes a port, also one that a server uses: its guest loses the card soon after. Refused with 409 when it is a router's
 * or a floating IP's.
 */
export async function deletePort(db: Db, actor: Actor, id: string, now: number): Promise<NetworkResult<null>> {
  return atomically(db, async (trx): Promise<NetworkResult<null>> => {
    await exclusively(trx, NETWORKS);
    const port = await findPort(trx, actor, id);
    if (!port) return absent('port', id);
    const held = await trx
      .selectFrom('ports')
      .select('device_owner')
      .where('id', '=', id)
      .where('holder_id', '<>', '')
      .where('device_owner', 'in', HELD)
      // Nobody else deletes what is held by nothing: an administrator may have made it.
      .where(({ or, exists, selectFrom }) =>
        or([
          exists(selectFrom('routers').select('id').whereRef('routers.id', '=', 'ports.holder_id')),
          exists(selectFrom('floating_ips').select('id').whereRef('floating_ips.id', '=', 'ports.holder_id')),
        ]),
      )
      .executeTakeFirst();
    if (held) {
      const reason = `has device owner ${held.device_owner}`;
      return no(409, 'ServicePortInUse', `Port ${id} cannot be deleted directly via the port API: ${reason}.`);
    }
    await oweCards(trx, port, `the server's port ${id} was deleted`, now);
    await trx.deleteFrom('ports').where('id', '=', id).execute();
    return ok(null);
  });
}

type Row = Selectable<GlobalTables['ports']> & { readonly host: string | null; readonly boundProfile: string | null };

/** With what stands in other tables. */
async function complete(db: Db, rows: readonly Row[]): Promise<PortRecord[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  const addresses = await db
    .selectFrom('port_addresses')
    .select(['port_id', 'subnet_id as subnetId', 'ip'])
    .where('port_id', 'in', ids)
    .orderBy('position')
    .execute();
  const groups = await groupsOfPorts(db, ids);
  return rows.map((row) => ({
    ...standardOf(row),
    name: row.name,
    networkId: row.network_id,
    mac: row.mac,
    fixedIps: addresses.filter((each) => each.port_id === row.id).map(({ subnetId, ip }) => ({ subnetId, ip })),
    serverId: row.device_id,
    deviceId: row.device_id === '' ? row.holder_id : row.device_id,
    deviceOwner: row.device_owner,
    host: row.host,
    wantedHost: row.wanted_host,
    adminStateUp: row.admin_state_up === 1,
    portSecurity: row.port_security === 1,
    groupIds: groups.get(row.id) ?? [],
    addressPairs: listOf<AddressPair>(row.address_pairs_json),
    dhcpOptions: listOf<DhcpOption>(row.dhcp_options_json),
    dnsName: row.dns_name,
    vnicType: row.vnic_type,
    profile: JSON.parse(row.boundProfile ?? row.profile_json) as BindingProfile,
  }));
}
