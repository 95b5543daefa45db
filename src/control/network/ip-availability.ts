// How many addresses networks have, and how many of them ports hold; for administrators. Source:
// neutron/db/network_ip_availability_db.py.
import { parseIpv4 } from '../../model/network.ts';
import type { Db } from './standard.ts';

/** Networks of one list. */
const MOST = 10_000;

export interface SubnetAvailability {
  readonly id: string;
  readonly name: string;
  readonly cidr: string;
  /** Addresses of its allocation pools. */
  readonly total: number;
  /** Addresses that ports have, within the pools or not. */
  readonly used: number;
}
export interface NetworkAvailability {
  readonly id: string;
  readonly name: string;
  readonly projectId: string;
  readonly subnets: readonly SubnetAvailability[];
}

/** Each given list: one of its values. */
export interface AvailabilityFilter {
  readonly ids?: readonly string[] | undefined;
  readonly names?: readonly string[] | undefined;
  readonly projectIds?: readonly string[] | undefined;
}

/** By network id. */
export async function listIpAvailability(db: Db, filter: AvailabilityFilter): Promise<NetworkAvailability[]> {
  const { ids, names, projectIds } = filter;
  let query = db.selectFrom('networks').select(['id', 'name', 'project_id']);
  if (ids) query = query.where('id', 'in', ids);
  if (names) query = query.where('name', 'in', names);
  if (projectIds) query = query.where('project_id', 'in', projectIds);
  const networks = await query.orderBy('id').limit(MOST).execute();
  const used = await db
    .selectFrom('port_addresses')
    .select((eb) => ['subnet_id', eb.fn.countAll<number | string>().as('used')])
    .groupBy('subnet_id')
    .execute();
  const usedOf = new Map(used.map((each) => [each.subnet_id, Number(each.used)]));
  const subnets = await db
    .selectFrom('subnets')
    .select(['id', 'name', 'cidr', 'pools_json', 'network_id'])
    .orderBy('created_at')
    .orderBy('id')
    .execute();
  const ofNetwork = Map.groupBy(subnets, (each) => each.network_id);
  return networks.map((network) => ({
    ...{ id: network.id, name: network.name, projectId: network.project_id },
    subnets: (ofNetwork.get(network.id) ?? []).map(({ id, name, cidr, pools_json }) => ({
      ...{ id, name, cidr, total: addressesIn(pools_json), used: usedOf.get(id) ?? 0 },
    })),
  }));
}

/** @param pools `[[first, last], …]` */
const addressesIn = (pools: string): number =>
  (JSON.parse(pools) as [string, string][]).reduce(
    (sum, [first, last]) => sum + (parseIpv4(last) ?? 0) - (parseIpv4(first) ?? 0) + 1,
    0,
  );
