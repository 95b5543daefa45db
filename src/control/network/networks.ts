// Networks as the network API's users see and change them.
//
// Theory of operation. A network is a name, flags and subnets; ports take their addresses from those. Guests use
// user-mode networking, so networks keep addresses apart but need nothing on the hosts. Users see their project's own
// networks, those shared with it (which only a network service elsewhere does) or with all, and the external ones;
// administrators see all. Who may set which attribute is the policy's to say
// (api/network). Checks that read before they write run in one transaction, alone among those of the service.
// Not handled: provider attributes, segments, IPv6.
import { newId } from '../../lib/ids.ts';
import { wrongDomain } from '../../model/dns-names.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import { atomically, exclusively, forUpdate, isAmong } from '../../store/dialect.ts';
import { type Collection, one, page, type Selection } from './listing.ts';
import { claimQuota, NETWORKS } from './quotas.ts';
import {
  absent,
  disallowed,
  type NetworkResult,
  no,
  ok,
  owns,
  refusable,
  refuseWith,
  wrongAttribute,
  wrongText,
} from './results.ts';
import { changed, type Db, flag, given, type Standard, standardOf } from './standard.ts';

export const MTU = 1500;
const MAX_MTU = 65_535;

export interface NetworkRecord extends Standard {
  readonly name: string;
  readonly shared: boolean;
  readonly external: boolean;
  readonly adminStateUp: boolean;
  readonly portSecurity: boolean;
  readonly mtu: number;
  /** A record: nothing here tells a name server; ''. */
  readonly dnsDomain: string;
  readonly subnetIds: readonly string[];
  /** Projects that it is shared with, besides what `shared` says. */
  readonly sharedWith: readonly string[];
}

export interface NetworkChange {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly shared?: boolean | undefined;
  readonly external?: boolean | undefined;
  readonly adminStateUp?: boolean | undefined;
  readonly portSecurity?: boolean | undefined;
  readonly mtu?: number | undefined;
  readonly dnsDomain?: string | undefined;
}

export const NETWORK_COLUMNS: Collection = {
  table: 'networks',
  alias: 'n',
  columns: {
    ...{ id: 'id', name: 'name', description: 'description', project_id: 'project_id', tenant_id: 'project_id' },
    ...{ shared: 'shared', 'router:external': 'external', admin_state_up: 'admin_state_up', mtu: 'mtu' },
    ...{ port_security_enabled: 'port_security', created_at: 'created_at', revision_number: 'revision' },
    dns_domain: 'dns_domain',
  },
};

/** The networks the actor sees. */
export async function listNetworks(db: Db, actor: Actor, selection: Selection): Promise<NetworkRecord[]> {
  let query = db.selectFrom('networks as n').selectAll('n');
  if (!isAdmin(actor)) {
    query = query.where((where) =>
      where.or([
        ...[where('n.shared', '=', 1), where('n.external', '=', 1), where('n.project_id', '=', actor.projectId)],
        where('n.id', 'in', sharesWith(db, actor.projectId)),
      ]),
    );
  }
  const rows = await page(query, NETWORK_COLUMNS, selection);
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  const subnets = await db
    .selectFrom('subnets')
    .select(['id', 'network_id'])
    .where('network_id', 'in', ids)
    .orderBy('id')
    .execute();
  const shares = await db.selectFrom('network_shares').selectAll().where('network_id', 'in', ids).execute();
  return rows.map((row) => ({
    ...standardOf(row),
    name: row.name,
    shared: row.shared === 1,
    external: row.external === 1,
    adminStateUp: row.admin_state_up === 1,
    portSecurity: row.port_security === 1,
    mtu: row.mtu,
    dnsDomain: row.dns_domain,
    subnetIds: subnets.filter((each) => each.network_id === row.id).map((each) => each.id),
    sharedWith: shares.filter((each) => each.network_id === row.id).map((each) => each.project_id),
  }));
}

const sharesWith = (db: Db, projectId: string) =>
  db.selectFrom('network_shares').select('network_id').where('project_id', '=', projectId);

/** Whether servers of the project may be on the network. */
export const isUsableBy = (
  { shared, sharedWith, projectId: owner }: Pick<NetworkRecord, 'shared' | 'sharedWith' | 'projectId'>,
  projectId: string,
): boolean => shared || owner === projectId || sharedWith.includes(projectId);

/** The network, when the actor sees it. */
export const findNetwork = async (db: Db, actor: Actor, id: string): Promise<NetworkRecord | null> =>
  (await listNetworks(db, actor, one(id)))[0] ?? null;

/** The same. @throws Refused 404 */
export async function networkFor(trx: Db, actor: Actor, id: string): Promise<NetworkRecord> {
  const network = await findNetwork(trx, actor, id);
  return network ?? refuseWith(absent('network', id));
}

/** Creates a network of the actor's project. */
export async function createNetwork(
  db: Db,
  actor: Actor,
  request: NetworkChange & { readonly name: string; readonly now: number },
): Promise<NetworkResult<NetworkRecord>> {
  const wrong = wrongText(request) ?? wrongMtu(request) ?? wrongDomainOf(request);
  if (wrong) return wrong;
  const id = newId();
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      await claimQuota(trx, 'network', actor.projectId);
      await trx
        .insertInto('networks')
        .values({
          ...{ id, name: request.name, project_id: actor.projectId, shared: 0, mtu: MTU },
          ...columnsOf(request),
          ...{ created_at: request.now, updated_at: request.now },
        })
        .execute();
      return networkFor(trx, actor, id);
    }),
  );
}

/** Changes a network of the actor's project. */
export async function updateNetwork(
  db: Db,
  actor: Actor,
  id: string,
  change: NetworkChange & { readonly now: number },
): Promise<NetworkResult<NetworkRecord>> {
  return refusable(() =>
    atomically(db, async (trx) => {
      await exclusively(trx, NETWORKS);
      const network = await networkFor(trx, actor, id);
      if (!owns(actor, network)) refuseWith(disallowed('update_network'));
      const wrong = wrongText(change) ?? wrongMtu(change) ?? wrongDomainOf(change);
      if (wrong) refuseWith(wrong);
      if (network.shared && change.shared === false) await refuseIfOthersUse(trx, network);
      if (network.external && change.external === false) await refuseIfGatewayed(trx, network);
      await trx
        .updateTable('networks')
        .set({ ...columnsOf(change), ...changed(change.now) })
        .where('id', '=', id)
        .execute();
      return networkFor(trx, actor, id);
    }),
  );
}

/** Deletes a network with its subnets and the floating IPs that lead nowhere; refused with 409 while a port is on it. */
export async function deleteNetwork(db: Db, actor: Actor, id: string): Promise<NetworkResult<null>> {
  const network = await findNetwork(db, actor, id);
  if (!network) return absent('network', id);
  if (!owns(actor, network)) return disallowed('delete_network');
  return atomically(db, async (trx) => {
    await exclusively(trx, NETWORKS);
    // Servers get their ports beside the other writers: none of them before this has ended.
    await trx.selectFrom('networks').select('id').where('id', '=', id).modifyEnd(forUpdate(trx)).execute();
    const idle = trx.selectFrom('floating_ips').select('port_id').where('network_id', '=', id);
    const idlePorts = (await idle.where('fixed_port_id', 'is', null).execute()).map((row) => row.port_id);
    const used = await trx
      .selectFrom('ports')
      .select('id')
      .where('network_id', '=', id)
      .where((where) => where.not(isAmong(trx, 'id', idlePorts)))
      .limit(5)
      .execute();
    if (used.length > 0) {
      const ids = used.map((port) => port.id).join(', ');
      const reason = `There are one or more ports still in use on the network, id for these ports is: ${ids}`;
      return no(409, 'NetworkInUse', `Unable to complete operation on network ${id}. ${reason}.`);
    }
    await trx.deleteFrom('floating_ips').where('network_id', '=', id).execute();
    await trx.deleteFrom('ports').where('network_id', '=', id).execute();
    await trx.deleteFrom('subnets').where('network_id', '=', id).execute();
    await trx.deleteFrom('networks').where('id', '=', id).execute();
    return ok(null);
  });
}

const columnsOf = (change: NetworkChange) => ({
  ...given(change.name, (name) => ({ name })),
  ...given(change.description, (description) => ({ description })),
  ...given(change.shared, (shared) => ({ shared: flag(shared) })),
  ...given(change.external, (external) => ({ external: flag(external) })),
  ...given(change.adminStateUp, (up) => ({ admin_state_up: flag(up) })),
  ...given(change.portSecurity, (secure) => ({ port_security: flag(secure) })),
  ...given(change.mtu, (mtu) => ({ mtu })),
  ...given(change.dnsDomain, (domain) => ({ dns_domain: domain.toLowerCase() })),
});
const wrongDomainOf = ({ dnsDomain }: NetworkChange) =>
  dnsDomain === undefined ? null : wrongAttribute('dns_domain', wrongDomain(dnsDomain));
function wrongMtu({ mtu }: NetworkChange) {
  if (mtu === undefined || (mtu >= 68 && mtu <= MAX_MTU)) return null;
  return no(400, 'HTTPBadRequest', `Invalid input for mtu. Reason: '${mtu}' is not in the range 68 to ${MAX_MTU}.`);
}

/** Neutron's InvalidSharedSetting. */
async function refuseIfOthersUse(trx: Db, network: NetworkRecord): Promise<void> {
  const other = await trx
    .selectFrom('ports')
    .select('id')
    .where('network_id', '=', network.id)
    .where('project_id', 'not in', [network.projectId, ''])
    .limit(1)
    .executeTakeFirst();
  if (!other) return;
  const message = `Unable to reconfigure sharing settings for network ${network.id}. Multiple tenants are using it.`;
  refuseWith(no(409, 'InvalidSharedSetting', message));
}

async function refuseIfGatewayed(trx: Db, network: NetworkRecord): Promise<void> {
  const router = await trx
    .selectFrom('routers')
    .select('id')
    .where('external_network_id', '=', network.id)
    .limit(1)
    .executeTakeFirst();
  if (!router) return;
  const message = `External network ${network.id} cannot be updated to be made non-external, since it has existing gateway ports.`;
  refuseWith(no(409, 'ExternalNetworkInUse', message));
}
