// The network service's quotas: how many of each resource a project may have.
//
// Theory of operation. A project's own limits stand in the quotas table under Neutron's names; no name of Nova's or
// Cinder's is one of them. Others are Neutron's defaults. Whoever makes something counts and inserts in one transaction
// that runs alone among those of the service (`exclusively(trx, NETWORKS)`), so the limit holds for makers at once. -1 is
// no limit. Ports of servers count as in Neutron, but are never refused to a move.
import { overQuota, refuseWith } from './results.ts';
import { countOf, type Db } from './standard.ts';

/** The name under which writers of this service exclude each other. */
export const NETWORKS = 'networks';

/** neutron/conf/quota.py */
export const NETWORK_LIMITS = {
  network: 100,
  subnet: 100,
  port: 500,
  router: 10,
  floatingip: 50,
  security_group: 10,
  security_group_rule: 100,
  subnetpool: -1,
  rbac_policy: 10,
} as const;
export type NetworkQuota = keyof typeof NETWORK_LIMITS;
export const isNetworkQuota = (name: string): name is NetworkQuota => Object.hasOwn(NETWORK_LIMITS, name);

const TABLES = {
  network: 'networks',
  subnet: 'subnets',
  port: 'ports',
  router: 'routers',
  floatingip: 'floating_ips',
  security_group: 'security_groups',
  security_group_rule: 'security_group_rules',
} as const;
type Counted = keyof typeof TABLES;

const NAMES = Object.keys(NETWORK_LIMITS) as NetworkQuota[];

export async function networkLimits(db: Db, projectId: string): Promise<Record<NetworkQuota, number>> {
  const rows = await db
    .selectFrom('quotas')
    .select(['resource', 'hard_limit'])
    .where('project_id', '=', projectId)
    .where('resource', 'in', NAMES)
    .execute();
  return { ...NETWORK_LIMITS, ...Object.fromEntries(rows.map((row) => [row.resource, Number(row.hard_limit)])) };
}

/** How many of each the project has. */
export async function networkUsage(db: Db, projectId: string): Promise<Record<NetworkQuota, number>> {
  const used: Record<NetworkQuota, number> = { ...NETWORK_LIMITS, subnetpool: 0, rbac_policy: 0 };
  for (const [name, table] of Object.entries(TABLES)) used[name as Counted] = await countOf(db, table, projectId);
  return used;
}

/**
 * In the transaction that makes `more` of the resource.
 * @throws Refused 409 when that is more than the project may have
 */
export async function claimQuota(trx: Db, resource: Counted, projectId: string, more = 1): Promise<void> {
  const limit = (await networkLimits(trx, projectId))[resource];
  if (limit < 0 || (await countOf(trx, TABLES[resource], projectId)) + more <= limit) return;
  refuseWith(overQuota(resource));
}

export async function setNetworkLimits(
  db: Db,
  projectId: string,
  limits: Partial<Record<NetworkQuota, number>>,
): Promise<void> {
  for (const [resource, hard_limit] of Object.entries(limits)) {
    await db
      .insertInto('quotas')
      .values({ project_id: projectId, user_id: '', resource, hard_limit })
      .onConflict((conflict) => conflict.columns(['project_id', 'user_id', 'resource']).doUpdateSet({ hard_limit }))
      .execute();
  }
}

/** The project has the defaults again. */
export async function resetNetworkLimits(db: Db, projectId: string): Promise<void> {
  await db.deleteFrom('quotas').where('project_id', '=', projectId).where('resource', 'in', NAMES).execute();
}

/** The projects that have limits of their own. */
export async function projectsWithLimits(db: Db): Promise<string[]> {
  const rows = await db
    .selectFrom('quotas')
    .select('project_id')
    .distinct()
    .where('resource', 'in', NAMES)
    .orderBy('project_id')
    .execute();
  return rows.map((row) => row.project_id);
}
