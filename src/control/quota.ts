// Quotas: limits from the quotas table or the settings, usage counted from placement's consumers, each server once.
// Counted in the global database alone, so a cell that is down changes nothing.
import { type Kysely, sql, type Transaction } from 'kysely';
import { DEFAULT_LIMITS, type QuotaLimits, type QuotaUsage } from '../model/quota.ts';
import type { ResourceClass } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';

export interface ProjectQuota {
  readonly limits: QuotaLimits;
  readonly used: QuotaUsage;
}

/** One statement: for who counts something else, or nothing. Counting a large project takes many times as long. */
export async function limitsOf(
  p: Platform,
  projectId: string,
  db: Kysely<GlobalTables> | Transaction<GlobalTables> = p.stores.global,
): Promise<QuotaLimits> {
  const own = await db
    .selectFrom('quotas')
    .select(['resource', 'hard_limit'])
    .where('project_id', '=', projectId)
    .execute();
  return {
    ...DEFAULT_LIMITS,
    ...p.settings.quota,
    ...Object.fromEntries(own.map((row) => [row.resource, row.hard_limit])),
  };
}

/**
 * Two statements; give a transaction to count and claim in one. The database counts, so that no row per server travels:
 * per server and class the larger of what its consumers hold (as in usageOfServer of model/quota.ts), then the sums.
 */
export async function quotaOf(
  p: Platform,
  projectId: string,
  db: Kysely<GlobalTables> | Transaction<GlobalTables> = p.stores.global,
): Promise<ProjectQuota> {
  const limits = await limitsOf(p, projectId, db);
  const held = (resourceClass: ResourceClass) =>
    sql<number>`coalesce(sum(case when a.resource_class = ${resourceClass} then a.used end), 0)`;
  const counted = db
    .selectFrom('server_mappings as m')
    .leftJoin(
      (from) =>
        from
          .selectFrom('consumers as c')
          .innerJoin('allocations as a', 'a.consumer_id', 'c.id')
          .select(['c.server_id', held('VCPU').as('cores'), held('MEMORY_MB').as('ram')])
          .where('c.project_id', '=', projectId)
          .groupBy(['c.id', 'c.server_id'])
          .as('held'),
      (join) => join.onRef('held.server_id', '=', 'm.server_id'),
    )
    .select((eb) => [
      eb.fn.max<number | null>('held.cores').as('cores'),
      eb.fn.max<number | null>('held.ram').as('ram'),
    ])
    .where('m.project_id', '=', projectId)
    .where('m.deleted_at', 'is', null)
    // As Nova counts (nova/objects/instance.py:_get_counts_in_db): a restore asks for it again.
    .where('m.soft_deleted_at', 'is', null)
    .groupBy('m.server_id');
  const sums = await db
    .selectFrom(counted.as('server'))
    .select((eb) => [
      eb.fn.countAll<number>().as('instances'),
      eb.fn.sum<number | null>('server.cores').as('cores'),
      eb.fn.sum<number | null>('server.ram').as('ram'),
    ])
    .executeTakeFirstOrThrow();
  const used = { instances: Number(sums.instances), cores: Number(sums.cores ?? 0), ram: Number(sums.ram ?? 0) };
  return { limits, used };
}

export async function setQuota(
  p: Platform,
  projectId: string,
  limits: Readonly<Record<string, number>>,
): Promise<void> {
  const rows = Object.entries(limits).map(([resource, hard_limit]) => ({
    project_id: projectId,
    resource,
    hard_limit,
  }));
  if (rows.length === 0) return;
  await p.stores.global
    .insertInto('quotas')
    .values(rows)
    .onConflict((conflict) =>
      conflict.columns(['project_id', 'resource']).doUpdateSet((eb) => ({ hard_limit: eb.ref('excluded.hard_limit') })),
    )
    .execute();
}
