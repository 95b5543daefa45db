// Host aggregates: named sets of hosts with metadata for the scheduler. An aggregate with `availability_zone` in its
// metadata gives its hosts that zone; a host is in at most one zone, which is checked here at every change that could
// break it. All writes are within one transaction, so two changes at once cannot both pass the check.
import { type Kysely, sql, type Transaction } from 'kysely';
import { newId } from '../lib/ids.ts';
import { checkName, checkZoneName } from '../model/names.ts';
import { badRequest, conflict, firstRefusal, notFound, type Refusal } from '../model/refusal.ts';
import { exclusively, isAmong } from '../store/dialect.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import type { Platform } from './platform.ts';

export interface AggregateRecord {
  readonly id: number;
  readonly uuid: string;
  readonly name: string;
  readonly zone: string | null;
  /** Without availability_zone, which is `zone`. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly hosts: readonly string[];
  readonly createdAt: number;
  readonly updatedAt: number | null;
}

export type AggregateResult =
  | { readonly kind: 'ok'; readonly aggregate: AggregateRecord }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

const MAX_METADATA = 128;
const ZONE_KEY = 'availability_zone';

type Db = Kysely<GlobalTables> | Transaction<GlobalTables>;

/** All aggregates with their hosts, in the order in which they were made; with no other hosts than these, if given. */
export const listAggregates = (p: Platform, hosts?: readonly string[]): Promise<AggregateRecord[]> =>
  aggregatesIn(p.stores.global, undefined, hosts);

export async function findAggregate(p: Platform, id: number): Promise<AggregateRecord | null> {
  return (await aggregatesIn(p.stores.global, id))[0] ?? null;
}

async function aggregatesIn(db: Db, id?: number, among?: readonly string[]): Promise<AggregateRecord[]> {
  let rows = db.selectFrom('aggregates').selectAll().orderBy('id');
  let members = db.selectFrom('aggregate_hosts').selectAll().orderBy('host');
  if (id !== undefined) {
    rows = rows.where('id', '=', id);
    members = members.where('aggregate_id', '=', id);
  }
  if (among) members = members.where(isAmong(db, 'host', among));
  const hosts = Map.groupBy(await members.execute(), (member) => member.aggregate_id);
  return (await rows.execute()).map((row) => ({
    id: row.id,
    uuid: row.uuid,
    name: row.name,
    zone: row.zone,
    metadata: JSON.parse(row.metadata_json) as Record<string, string>,
    hosts: (hosts.get(row.id) ?? []).map((member) => member.host),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }));
}

export async function createAggregate(p: Platform, name: string, zone: string | null): Promise<AggregateResult> {
  const refusal = firstRefusal(checkName(name), zone === null ? null : checkZoneName(zone));
  if (refusal) return { kind: 'refused', refusal };
  return p.stores.global.transaction().execute(async (trx): Promise<AggregateResult> => {
    await exclusively(trx, 'aggregates');
    if (await nameTaken(trx, name, null))
      return { kind: 'refused', refusal: conflict(`Aggregate ${name} already exists.`) };
    const { id } = await trx
      .insertInto('aggregates')
      .values({ uuid: newId(), name, zone, metadata_json: '{}', created_at: p.clock.now(), updated_at: null })
      .returning('id')
      .executeTakeFirstOrThrow();
    return found(await aggregatesIn(trx, id), id);
  });
}

/** Changes name or zone; undefined leaves as it is. */
export function updateAggregate(
  p: Platform,
  id: number,
  change: { readonly name?: string; readonly zone?: string | null },
): Promise<AggregateResult> {
  const refusal = firstRefusal(
    change.name === undefined ? null : checkName(change.name),
    change.zone === undefined || change.zone === null ? null : checkZoneName(change.zone),
  );
  if (refusal) return Promise.resolve({ kind: 'refused', refusal });
  return changing(p, id, async (trx, aggregate) => {
    if (change.name !== undefined && (await nameTaken(trx, change.name, id))) {
      return conflict(`Aggregate ${change.name} already exists.`);
    }
    if (change.zone !== undefined) {
      const clash = await zoneClash(trx, aggregate, change.zone, aggregate.hosts, 'update');
      if (clash) return clash;
    }
    await trx
      .updateTable('aggregates')
      .set({
        ...(change.name === undefined ? {} : { name: change.name }),
        ...(change.zone === undefined ? {} : { zone: change.zone }),
      })
      .where('id', '=', id)
      .execute();
    return null;
  });
}

/** Sets or (null) removes metadata; the zone is metadata too. */
export function setAggregateMetadata(
  p: Platform,
  id: number,
  changes: Readonly<Record<string, string | null>>,
): Promise<AggregateResult> {
  return changing(p, id, async (trx, aggregate) => {
    const { [ZONE_KEY]: zone, ...rest } = changes;
    if (zone !== undefined) {
      const refusal =
        (zone === null ? null : checkZoneName(zone)) ??
        (await zoneClash(trx, aggregate, zone, aggregate.hosts, 'metadata'));
      if (refusal) return refusal;
    }
    const metadata = Object.fromEntries(
      Object.entries({ ...aggregate.metadata, ...rest }).filter(
        (entry): entry is [string, string] => entry[1] !== null,
      ),
    );
    if (Object.keys(metadata).length > MAX_METADATA) {
      return badRequest(`An aggregate can have at most ${MAX_METADATA} metadata items.`);
    }
    await trx
      .updateTable('aggregates')
      .set({ metadata_json: JSON.stringify(metadata), ...(zone === undefined ? {} : { zone }) })
      .where('id', '=', id)
      .execute();
    return null;
  });
}

export function addAggregateHost(p: Platform, id: number, host: string): Promise<AggregateResult> {
  return changing(p, id, async (trx, aggregate) => {
    const known = await trx.selectFrom('hosts').select('id').where('name', '=', host).executeTakeFirst();
    if (!known) return notFound(`Compute host ${host} could not be found.`);
    if (aggregate.hosts.includes(host)) return conflict(`Host ${host} already in aggregate ${id}.`);
    const clash = await zoneClash(trx, aggregate, aggregate.zone, [host], 'add');
    if (clash) return clash;
    await trx.insertInto('aggregate_hosts').values({ aggregate_id: id, host }).execute();
    return null;
  });
}

export function removeAggregateHost(p: Platform, id: number, host: string): Promise<AggregateResult> {
  return changing(p, id, async (trx, aggregate) => {
    if (!aggregate.hosts.includes(host)) return notFound(`Aggregate ${id} has no host ${host}.`);
    const clash = await zoneClash(trx, aggregate, null, [host], 'remove');
    if (clash) return clash;
    await trx.deleteFrom('aggregate_hosts').where('aggregate_id', '=', id).where('host', '=', host).execute();
    return null;
  });
}

/** 404 when there is none, 400 when it still has hosts, as in Nova. */
export async function deleteAggregate(p: Platform, id: number): Promise<Refusal | null> {
  return p.stores.global.transaction().execute(async (trx) => {
    await exclusively(trx, 'aggregates');
    const [aggregate] = await aggregatesIn(trx, id);
    if (!aggregate) return aggregateNotFound(id);
    if (aggregate.hosts.length > 0) {
      return badRequest(`Cannot remove host from aggregate ${id}. Reason: Host aggregate is not empty.`);
    }
    await trx.deleteFrom('aggregates').where('id', '=', id).execute();
    return null;
  });
}

export const aggregateNotFound = (id: number | string): Refusal => notFound(`Aggregate ${id} could not be found.`);

function changing(
  p: Platform,
  id: number,
  change: (trx: Transaction<GlobalTables>, aggregate: AggregateRecord) => Promise<Refusal | null>,
): Promise<AggregateResult> {
  return p.stores.global.transaction().execute(async (trx): Promise<AggregateResult> => {
    await exclusively(trx, 'aggregates');
    const [aggregate] = await aggregatesIn(trx, id);
    if (!aggregate) return { kind: 'refused', refusal: aggregateNotFound(id) };
    const refusal = await change(trx, aggregate);
    if (refusal) return { kind: 'refused', refusal };
    await trx.updateTable('aggregates').set({ updated_at: p.clock.now() }).where('id', '=', id).execute();
    return found(await aggregatesIn(trx, id), id);
  });
}

const found = ([aggregate]: readonly AggregateRecord[], id: number): AggregateResult =>
  aggregate ? { kind: 'ok', aggregate } : { kind: 'refused', refusal: aggregateNotFound(id) };

async function nameTaken(db: Db, name: string, except: number | null): Promise<boolean> {
  let query = db.selectFrom('aggregates').select('id').where('name', '=', name);
  if (except !== null) query = query.where('id', '!=', except);
  return (await query.executeTakeFirst()) !== undefined;
}

/** How each change that may take a host into another zone is refused (nova/exception.py: InvalidAggregateAction…). */
const REFUSALS = {
  add: (reason: string, id: number) => conflict(`Cannot add host to aggregate ${id}. Reason: ${reason}.`),
  remove: (reason: string, id: number) => conflict(`Cannot remove host from aggregate ${id}. Reason: ${reason}.`),
  update: (reason: string, id: number) => badRequest(`Cannot update aggregate ${id}. Reason: ${reason}.`),
  metadata: (reason: string, id: number) => badRequest(`Cannot update metadata of aggregate ${id}. Reason: ${reason}.`),
} as const;

/**
 * Refused when one of the hosts is in another zone already, or has servers and would change its zone under them: a
 * server stays in the zone that it was asked for in, and would find no host any more (nova/compute/api.py:
 * is_safe_to_update_az; of removing a host since 2024.2).
 */
async function zoneClash(
  db: Db,
  aggregate: AggregateRecord,
  zone: string | null,
  hosts: readonly string[],
  change: keyof typeof REFUSALS,
): Promise<Refusal | null> {
  if (hosts.length === 0) return null;
  const others = (await aggregatesIn(db)).filter((each) => each.id !== aggregate.id && each.zone !== null);
  for (const host of hosts) {
    const other = others.find((each) => each.hosts.includes(host));
    if (zone !== null && other && other.zone !== zone) {
      return REFUSALS[change](`One or more hosts already in availability zone(s) ['${other.zone}']`, aggregate.id);
    }
    const before = other?.zone ?? (aggregate.hosts.includes(host) ? aggregate.zone : null);
    const after = zone ?? other?.zone ?? null;
    if (before !== after && (await hasServers(db, host))) {
      return REFUSALS[change]('One or more hosts contain instances in this zone', aggregate.id);
    }
  }
  return null;
}

async function hasServers(db: Db, host: string): Promise<boolean> {
  const row = await db
    .selectFrom('allocations')
    .innerJoin('providers', 'providers.id', 'allocations.provider_id')
    .innerJoin('consumers', 'consumers.id', 'allocations.consumer_id')
    .select(sql<number>`1`.as('one'))
    .where('providers.name', '=', host)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}
