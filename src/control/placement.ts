// Placement in SQL: who holds how much of which host. The sums themselves are in model/placement.ts.
//
// A consumer is a server, or the migration that keeps a server's old place while its resize waits. Its allocations
// stand and fall with its row. A claim reads the provider's usage and writes the allocation in one transaction guarded
// by the provider's generation, so two claims can never both take the last room. Moving allocations from one consumer to
// another changes no sum. Every call may be repeated.
import { type InsertResult, type Kysely, sql, type Transaction, type UpdateResult } from 'kysely';
import { fits } from '../model/placement.ts';
import { type Inventory, RESOURCE_CLASSES, type ResourceClass, type Resources } from '../model/types.ts';
import { isListed, type Listed, listed } from '../store/dialect.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';

type Db = Kysely<GlobalTables> | Transaction<GlobalTables>;

export interface Consumer {
  readonly id: string;
  readonly type: 'server' | 'migration';
  readonly serverId: string;
  readonly projectId: string;
  readonly userId: string;
}

export interface ProviderState {
  readonly inventories: Partial<Record<ResourceClass, Inventory>>;
  readonly used: Partial<Record<ResourceClass, number>>;
}

const inventories = (db: Db) => {
  const of = (resourceClass: ResourceClass, column: string) =>
    sql<number | null>`max(case when resource_class = ${resourceClass} then ${sql.ref(column)} end)`;
  return db
    .selectFrom('inventories')
    .select('provider_id')
    .select(
      RESOURCE_CLASSES.flatMap((each) => [
        of(each, 'total').as(`${each}_total`),
        of(each, 'reserved').as(`${each}_reserved`),
        of(each, 'allocation_ratio').as(`${each}_ratio`),
      ]),
    )
    .groupBy('provider_id');
};

const usages = (db: Db) => {
  const used = (resourceClass: ResourceClass) =>
    sql<number | null>`sum(case when resource_class = ${resourceClass} then used end)`;
  return db
    .selectFrom('allocations')
    .select('provider_id')
    .select(RESOURCE_CLASSES.map((each) => used(each).as(each)))
    .groupBy('provider_id');
};

type InventoryRow = Awaited<ReturnType<ReturnType<typeof inventories>['execute']>>[number];
type UsageRow = Awaited<ReturnType<ReturnType<typeof usages>['execute']>>[number];
interface Among {
  readonly ids: Listed;
}

const INVENTORIES = fixed<GlobalTables, object, InventoryRow>((db) => inventories(db));
const INVENTORIES_AMONG = fixed<GlobalTables, Among, InventoryRow>((db, { ids }) =>
  inventories(db).where(isListed(db, 'provider_id', ids)),
);
const USAGES = fixed<GlobalTables, object, UsageRow>((db) => usages(db));
const USAGES_AMONG = fixed<GlobalTables, Among, UsageRow>((db, { ids }) =>
  usages(db).where(isListed(db, 'provider_id', ids)),
);

/**
 * Inventories and usage by provider id; of all providers when no ids are given. Two statements, one row per
 * provider from each: over thousands of hosts the rows that travel are what takes the time.
 */
export async function providerStates(db: Db, ids?: readonly string[]): Promise<Map<string, ProviderState>> {
  const among = ids && { ids: listed(db, ids) };
  const usageOf = new Map<string, Resources>();
  for (const row of (await (among ? USAGES_AMONG(db, among) : USAGES(db, {}))).rows) {
    const sums: Partial<Record<ResourceClass, number>> = {};
    for (const each of RESOURCE_CLASSES) if (row[each] !== null) sums[each] = Number(row[each]);
    usageOf.set(row.provider_id, sums);
  }
  const states = new Map<string, ProviderState>();
  for (const row of (await (among ? INVENTORIES_AMONG(db, among) : INVENTORIES(db, {}))).rows) {
    const has: Partial<Record<ResourceClass, Inventory>> = {};
    for (const each of RESOURCE_CLASSES) {
      const [total, reserved, ratio] = [row[`${each}_total`], row[`${each}_reserved`], row[`${each}_ratio`]];
      if (total !== null && reserved !== null && ratio !== null) {
        has[each] = { total: Number(total), reserved: Number(reserved), allocationRatio: Number(ratio) };
      }
    }
    states.set(row.provider_id, { inventories: has, used: usageOf.get(row.provider_id) ?? {} });
  }
  return states;
}

const LOCK = fixed<GlobalTables, { readonly providerId: string }, UpdateResult>((db, { providerId }) =>
  db
    .updateTable('providers')
    .set((eb) => ({ generation: eb('generation', '+', 1) }))
    .where('id', '=', providerId),
);

/** Takes `resources` of the provider for the consumer, who must hold nothing yet. False: they do not fit any more. */
export async function claim(
  trx: Transaction<GlobalTables>,
  consumer: Consumer,
  providerId: string,
  resources: Resources,
): Promise<boolean> {
  // Locks the provider's row first: whoever claims from the same provider waits for this transaction.
  await LOCK(trx, { providerId });
  const state = (await providerStates(trx, [providerId])).get(providerId);
  if (!state || !fits(state.inventories, state.used, resources)) return false;
  await insertConsumer(trx, consumer);
  await trx
    .insertInto('allocations')
    .values(
      RESOURCE_CLASSES.filter((each) => (resources[each] ?? 0) > 0).map((resource_class) => ({
        consumer_id: consumer.id,
        provider_id: providerId,
        resource_class,
        used: resources[resource_class] ?? 0,
      })),
    )
    .execute();
  return true;
}

/** What the consumer holds, by provider; empty when nothing. */
export async function allocationsOf(
  db: Db,
  consumerId: string,
): Promise<{ providerId: string; resourceClass: ResourceClass; used: number }[]> {
  const rows = await db.selectFrom('allocations').selectAll().where('consumer_id', '=', consumerId).execute();
  return rows.map((row) => ({
    providerId: row.provider_id,
    resourceClass: row.resource_class as ResourceClass,
    used: row.used,
  }));
}

/** Everything that `from` holds is `to`'s from now on. Harmless when it already is, or when `from` holds nothing. */
export async function transfer(trx: Transaction<GlobalTables>, from: Consumer, to: Consumer): Promise<void> {
  await insertConsumer(trx, to);
  await trx.updateTable('allocations').set({ consumer_id: to.id }).where('consumer_id', '=', from.id).execute();
  await trx
    .deleteFrom('consumers')
    .where('id', 'in', [from.id, to.id])
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('allocations').select('used').whereRef('allocations.consumer_id', '=', 'consumers.id'))),
    )
    .execute();
}

/** The consumer holds nothing any more; harmless when it never did. One statement: its allocations go with it. */
export async function release(db: Db, consumerId: string): Promise<void> {
  await db.deleteFrom('consumers').where('id', '=', consumerId).execute();
}

const INSERT_CONSUMER = fixed<GlobalTables, Consumer, InsertResult>((db, consumer) =>
  db
    .insertInto('consumers')
    .values({
      id: consumer.id,
      type: consumer.type,
      server_id: consumer.serverId,
      project_id: consumer.projectId,
      user_id: consumer.userId,
      generation: 1,
    })
    .onConflict((conflict) =>
      conflict.column('id').doUpdateSet((eb) => ({ generation: eb('consumers.generation', '+', 1) })),
    ),
);

async function insertConsumer(trx: Transaction<GlobalTables>, consumer: Consumer): Promise<void> {
  await INSERT_CONSUMER(trx, consumer);
}
