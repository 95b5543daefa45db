// Quotas: limits from the quotas table or the settings, usage counted from placement's consumers, each server once.
// Counted in the global database alone, so a cell that is down changes nothing.
import { type Kysely, sql, type Transaction } from 'kysely';
import { DEFAULT_LIMITS, type QuotaLimits, type QuotaUsage } from '../model/quota.ts';
import type { Refusal, ResourceClass } from '../model/types.ts';
import { exclusively } from '../store/dialect.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';

export interface ProjectQuota {
  readonly limits: QuotaLimits;
  readonly used: QuotaUsage;
}

type Db = Kysely<GlobalTables> | Transaction<GlobalTables>;

/** Whose limits: a project's, or those of a user within it. */
export interface Limited {
  readonly projectId: string;
  readonly userId?: string;
}

const EVERYBODY = '';

/** By name: the installation's, on top of Nova's defaults. Operators change them with the quota class `default`. */
export const defaultLimits = async (p: Platform): Promise<QuotaLimits> =>
  limitsIn(p, await rowsOf(p.stores.global, EVERYBODY));

/** One statement: for who counts something else, or nothing. Counting a large project takes many times as long. */
export async function limitsOf(p: Platform, projectId: string, db: Db = p.stores.global): Promise<QuotaLimits> {
  return limitsIn(p, await rowsOf(db, projectId));
}

/** As limitsOf; the user's own limits before the project's. */
export async function userLimitsOf(p: Platform, projectId: string, userId: string): Promise<QuotaLimits> {
  return limitsIn(p, await rowsOf(p.stores.global, projectId, userId));
}

interface LimitRow {
  readonly project_id: string;
  readonly user_id: string;
  readonly resource: string;
  readonly hard_limit: number;
}

/** Everybody's, and those of the project and the user when they are not everybody. */
const rowsOf = async (db: Db, projectId: string, userId = EVERYBODY): Promise<readonly LimitRow[]> =>
  (await LIMITS(db, { projectId, userId })).rows;

const LIMITS = fixed<GlobalTables, Required<Limited>, LimitRow>((db, { projectId, userId }) =>
  db
    .selectFrom('quotas')
    .selectAll()
    .where('project_id', 'in', [EVERYBODY, projectId])
    .where('user_id', 'in', [EVERYBODY, userId]),
);

function limitsIn(p: Platform, rows: readonly LimitRow[]): QuotaLimits {
  // From the most general to the most particular: a later one counts.
  const layers = [
    rows.filter((row) => row.project_id === EVERYBODY),
    rows.filter((row) => row.project_id !== EVERYBODY && row.user_id === EVERYBODY),
    rows.filter((row) => row.user_id !== EVERYBODY),
  ];
  const set = Object.fromEntries(layers.flat().map((row) => [row.resource, row.hard_limit]));
  return { ...DEFAULT_LIMITS, ...p.settings.quota, ...set };
}

/**
 * What a request of a user must fit into: the project's quota, and before it the user's own within the project, if there
 * is one. Statements as quotaOf; twice as many with a quota of the user's own.
 */
export async function quotasFor(
  p: Platform,
  { projectId, userId }: Required<Limited>,
  db: Db = p.stores.global,
): Promise<readonly [ProjectQuota, ...ProjectQuota[]]> {
  const rows = await rowsOf(db, projectId, userId);
  const ofProject = rows.filter((row) => row.user_id === EVERYBODY);
  const project = { limits: limitsIn(p, ofProject), used: await usageOf(db, { projectId }) };
  if (ofProject.length === rows.length) return [project];
  return [{ limits: limitsIn(p, rows), used: await usageOf(db, { projectId, userId }) }, project];
}

/** Whoever counts and claims in one transaction counts behind this: what two count at the same time lets both pass. */
export const lockQuota = (trx: Transaction<GlobalTables>, projectId: string): Promise<void> =>
  exclusively(trx, `quota of ${projectId}`);

/** The first refusal of a check that each of the quotas has to pass. */
export function firstOver(
  quotas: readonly ProjectQuota[],
  check: (limits: QuotaLimits, used: QuotaUsage) => Refusal | null,
): Refusal | null {
  for (const { limits, used } of quotas) {
    const refusal = check(limits, used);
    if (refusal) return refusal;
  }
  return null;
}

/**
 * Two statements; give a transaction to count and claim in one. The database counts, so that no row per server travels:
 * per server and class the larger of what its consumers hold (as in usageOfServer of model/quota.ts), then the sums.
 */
export async function quotaOf(p: Platform, projectId: string, db: Db = p.stores.global): Promise<ProjectQuota> {
  return { limits: await limitsOf(p, projectId, db), used: await usageOf(db, { projectId }) };
}

/** What a project, or a user within it, has. One statement. */
export async function usageOf(db: Db, { projectId, userId }: Limited): Promise<QuotaUsage> {
  const { rows } = await (userId === undefined ? USAGE(db, { projectId }) : USAGE_OF_USER(db, { projectId, userId }));
  const [sums] = rows;
  return { instances: Number(sums?.instances ?? 0), cores: Number(sums?.cores ?? 0), ram: Number(sums?.ram ?? 0) };
}

interface Sums {
  readonly instances: number;
  readonly cores: number | null;
  readonly ram: number | null;
}

const USAGE = fixed<GlobalTables, { readonly projectId: string }, Sums>((db, of) => usage(db, of));
const USAGE_OF_USER = fixed<GlobalTables, Required<Limited>, Sums>((db, of) => usage(db, of, of.userId));

function usage(db: Db, { projectId }: { readonly projectId: string }, userId?: string) {
  const held = (resourceClass: ResourceClass) =>
    sql<number>`coalesce(sum(case when a.resource_class = ${resourceClass} then a.used end), 0)`;
  let servers = db
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
  if (userId !== undefined) servers = servers.where('m.user_id', '=', userId);
  return db
    .selectFrom(servers.as('server'))
    .select((eb) => [
      eb.fn.countAll<number>().as('instances'),
      eb.fn.sum<number | null>('server.cores').as('cores'),
      eb.fn.sum<number | null>('server.ram').as('ram'),
    ]);
}

/** Sets limits by name; -1: unlimited. */
export async function setQuota(
  p: Platform,
  of: Limited | 'everybody',
  limits: Readonly<Record<string, number>>,
): Promise<void> {
  const rows = Object.entries(limits).map(([resource, hard_limit]) => ({ ...keyOf(of), resource, hard_limit }));
  await writeLimits(p.stores.global, rows);
}

/** These limits count from now on, whatever there was of the same names. */
export async function writeLimits(db: Db, rows: readonly LimitRow[]): Promise<void> {
  if (rows.length === 0) return;
  await db
    .insertInto('quotas')
    .values(rows)
    .onConflict((conflict) =>
      conflict
        .columns(['project_id', 'user_id', 'resource'])
        .doUpdateSet((eb) => ({ hard_limit: eb.ref('excluded.hard_limit') })),
    )
    .execute();
}

/** Forgets the project's limits, those of its users too; or only those of the user that is named. */
export async function forgetQuota(p: Platform, { projectId, userId }: Limited): Promise<void> {
  let query = p.stores.global
    .deleteFrom('quotas')
    .where('project_id', '=', projectId)
    .where('resource', 'in', Object.keys(DEFAULT_LIMITS));
  if (userId !== undefined) query = query.where('user_id', '=', userId);
  await query.execute();
}

const keyOf = (of: Limited | 'everybody'): { project_id: string; user_id: string } =>
  of === 'everybody'
    ? { project_id: EVERYBODY, user_id: EVERYBODY }
    : { project_id: of.projectId, user_id: of.userId ?? EVERYBODY };
