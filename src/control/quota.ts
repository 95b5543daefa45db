// Quotas: limits from the quotas table or the settings, usage counted from placement's consumers, each server once.
// Counted in the global database alone, so a cell that is down changes nothing.
import type { Kysely, Transaction } from 'kysely';
import {
  addUsage,
  DEFAULT_LIMITS,
  NO_USAGE,
  type QuotaLimits,
  type QuotaUsage,
  usageOfServer,
} from '../model/quota.ts';
import type { Resources } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';

export interface ProjectQuota {
  readonly limits: QuotaLimits;
  readonly used: QuotaUsage;
}

/** Three statements; give a transaction to count and claim in one. */
export async function quotaOf(
  p: Platform,
  projectId: string,
  db: Kysely<GlobalTables> | Transaction<GlobalTables> = p.stores.global,
): Promise<ProjectQuota> {
  const own = await db
    .selectFrom('quotas')
    .select(['resource', 'hard_limit'])
    .where('project_id', '=', projectId)
    .execute();
  const limits: QuotaLimits = {
    ...DEFAULT_LIMITS,
    ...p.settings.quota,
    ...Object.fromEntries(own.map((row) => [row.resource, row.hard_limit])),
  };
  const servers = await db
    .selectFrom('server_mappings')
    .select('server_id')
    .where('project_id', '=', projectId)
    .where('deleted_at', 'is', null)
    .execute();
  const held = await db
    .selectFrom('consumers')
    .innerJoin('allocations', 'allocations.consumer_id', 'consumers.id')
    .select(['consumers.id', 'consumers.server_id', 'allocations.resource_class', 'allocations.used'])
    .where('consumers.project_id', '=', projectId)
    .execute();
  const holdings = new Map<string, Map<string, Record<string, number>>>();
  for (const { server_id } of servers) holdings.set(server_id, new Map());
  for (const row of held) {
    const consumers = holdings.get(row.server_id);
    if (!consumers) continue;
    const resources = consumers.get(row.id) ?? {};
    resources[row.resource_class] = row.used;
    consumers.set(row.id, resources);
  }
  const used = [...holdings.values()]
    .map((consumers) => usageOfServer([...consumers.values()] as Resources[]))
    .reduce(addUsage, NO_USAGE);
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
