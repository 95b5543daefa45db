// Networks and subnets of a Neutron, on record here under the same ids: as they were when somebody last looked.
//
// Whoever makes a server looks, so almost always nothing has changed: what Neutron says is compared with what is on record,
// and only differences are written; without one there is no transaction. Two who look at once may see different things of
// Neutron; what the later one writes counts until somebody looks again.
// What is not there any more stays on record while ports are on it. With which projects a network is shared is on record,
// too, so that who may use one is asked of the records, as that of the embedded service's is.
import { isUuid } from '../../lib/ids.ts';
import { planSubnet } from '../../model/subnets.ts';
import type { Neutron, NeutronNetwork, NeutronShare, NeutronSubnet } from '../../openstack/neutron.ts';
import type { Platform } from '../platform.ts';
import { MTU } from './networks.ts';
import { type Db, flag } from './standard.ts';
import { subnetRow } from './subnets.ts';

/** A share with all projects. */
const ALL = '*';

/** What follows Neutron, by table. The rest of a row is as it was when it was first seen. */
const NETWORK = ['name', 'project_id', 'shared', 'external', 'mtu', 'port_security'] as const;
const SUBNET = ['name', 'cidr', 'gateway_ip'] as const;

/** Answers the ids of those that are there now. @throws ServiceDown, NeutronRefused */
export async function mirrorNetworks(p: Platform, neutron: Neutron): Promise<ReadonlySet<string>> {
  const [networks, subnets, shares] = await Promise.all([neutron.networks(), neutron.subnets(), neutron.shares()]);
  const usable = new Set(networks.map(({ id }) => id).filter(isUuid));
  const toAll = new Set(shares.filter(({ projectId }) => projectId === ALL).map(({ networkId }) => networkId));
  const now = p.clock.now();
  await record(p.stores.global, {
    networks: networks.filter(({ id }) => usable.has(id)).map((each) => networkFrom(each, toAll.has(each.id), now)),
    subnets: subnets
      .filter(({ network_id: id }) => usable.has(id))
      .flatMap((each) => {
        const row = subnetFrom(each, now);
        return row === null ? [] : [row];
      }),
    shares: shares.filter(({ networkId, projectId }) => projectId !== ALL && usable.has(networkId)),
  });
  return usable;
}

type NetworkRow = ReturnType<typeof networkFrom>;
type SubnetRow = NonNullable<ReturnType<typeof subnetFrom>>;

interface Seen {
  readonly networks: readonly NetworkRow[];
  readonly subnets: readonly SubnetRow[];
  readonly shares: readonly NeutronShare[];
}

async function record(db: Db, seen: Seen): Promise<void> {
  const networks = changed(
    seen.networks,
    await db
      .selectFrom('networks')
      .select(['id', ...NETWORK])
      .execute(),
    NETWORK,
  );
  const subnets = changed(
    seen.subnets,
    await db
      .selectFrom('subnets')
      .select(['id', ...SUBNET])
      .execute(),
    SUBNET,
  );
  const onRecord = await db.selectFrom('network_shares').selectAll().execute();
  const known = new Map(onRecord.map((row) => [`${row.network_id} ${row.project_id}`, row]));
  const shared = new Map(
    seen.shares.map(({ networkId: network_id, projectId: project_id }) => [
      `${network_id} ${project_id}`,
      { network_id, project_id },
    ]),
  );
  const given = [...shared].filter(([key]) => !known.has(key)).map(([, row]) => row);
  const taken = [...known].filter(([key]) => !shared.has(key)).map(([, row]) => row);
  if (networks.length + subnets.length + given.length + taken.length === 0) return;
  await db.transaction().execute(async (trx) => {
    for (const row of networks) {
      const { id: _, created_at: _made, updated_at: _changed, ...said } = row;
      await trx
        .insertInto('networks')
        .values(row)
        .onConflict((any) => any.column('id').doUpdateSet(said))
        .execute();
    }
    for (const row of subnets) {
      const { name, cidr, gateway_ip } = row;
      await trx
        .insertInto('subnets')
        .values(row)
        .onConflict((any) => any.column('id').doUpdateSet({ name, cidr, gateway_ip }))
        .execute();
    }
    for (const { network_id, project_id } of taken)
      await trx
        .deleteFrom('network_shares')
        .where('network_id', '=', network_id)
        .where('project_id', '=', project_id)
        .execute();
    for (const row of given)
      await trx
        .insertInto('network_shares')
        .values(row)
        .onConflict((any) => any.doNothing())
        .execute();
  });
}

/** Those that are not on record, or not like this. */
function changed<C extends string, K extends { readonly id: string } & Readonly<Record<C, unknown>>, R extends K>(
  seen: readonly R[],
  onRecord: readonly K[],
  columns: readonly C[],
): R[] {
  const known = new Map(onRecord.map((row) => [row.id, row]));
  return seen.filter((row) => columns.some((column) => known.get(row.id)?.[column] !== row[column]));
}

const networkFrom = (network: NeutronNetwork, toAll: boolean, now: number) => ({
  // Not what Neutron calls shared: that is what the service user's project may use.
  ...{ id: network.id, name: network.name, project_id: network.project_id, shared: flag(toAll) },
  ...{ external: flag(network['router:external'] ?? false), mtu: network.mtu ?? MTU, port_security: 0 },
  ...{ created_at: now, updated_at: now },
});

/** Null: a subnet that a guest of ours cannot be on. Its pools are Neutron's business. */
function subnetFrom(subnet: NeutronSubnet, now: number) {
  if (!isUuid(subnet.id)) return null;
  const { id, name, network_id: network, project_id: projectId, cidr, gateway_ip } = subnet;
  if (subnet.ip_version === 6) {
    const kept = { id, name, network_id: network, project_id: projectId, cidr, gateway_ip, pools_json: '[]' };
    return { ...kept, created_at: now, updated_at: now };
  }
  const plan = planSubnet({ cidr, gateway: gateway_ip });
  return 'code' in plan ? null : subnetRow({ id, name, networkId: network, projectId, plan, now });
}
