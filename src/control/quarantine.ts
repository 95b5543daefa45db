// Guests that nobody owns, and files of which their host has no record (remains.ts): kept and on record, until an operator
// says what becomes of them.
//
// Theory of operation. absent → kept → released | destroyed | returned. Whoever finds such a guest
// (moves/reconcile.ts), or leaves one behind (moves/evacuate.ts), writes the record first and turns it off then, under
// a new generation from the sequence of sagas: whatever saga begins later has a newer one and is obeyed, so nothing
// that becomes somebody's again is held back. Nothing is deleted here: an operator releases the guest (it stays as it
// is, and is left alone from then on) or has it destroyed, which is a debt like any other and refused by the host when
// the server has lawfully come back. A guest that belongs where it is again, or is gone, is `returned` by whoever sees
// that.
// Its room is not counted in placement: off, it takes disk alone.
import type { ExpressionBuilder, Kysely, Selectable } from 'kysely';
import { newId } from '../lib/ids.ts';
import type { Actor, Refusal } from '../model/types.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { nextFence } from '../store/sagas.ts';
import { owe } from './debts.ts';
import { ownership, ownsVolume } from './ownership.ts';
import type { Platform } from './platform.ts';

export interface Quarantined {
  readonly id: string;
  /** `remains`, `volume`: files without a record, of a guest or of a volume. */
  readonly kind: string;
  readonly host: string;
  /** Null of a volume. */
  readonly serverId: string | null;
  /** Null of a guest. */
  readonly volumeId: string | null;
  readonly generation: number;
  readonly wasRunning: boolean;
  /** What the files take; null for guests. */
  readonly bytes: number | null;
  readonly reason: string;
  readonly foundAt: number;
}

const quarantinedOf = (row: Selectable<GlobalTables['quarantine']>): Quarantined => ({
  id: row.id,
  kind: row.kind,
  host: row.host,
  serverId: row.kind === 'volume' ? null : row.server_id,
  volumeId: row.kind === 'volume' ? row.server_id : null,
  generation: row.generation,
  wasRunning: row.was_running === 1,
  bytes: row.bytes,
  reason: row.reason,
  foundAt: row.found_at,
});

/** What is kept now, in the order of ids. */
export async function listQuarantine(
  p: Platform,
  page: { readonly limit: number; readonly marker?: string },
): Promise<Quarantined[]> {
  let query = p.stores.global.selectFrom('quarantine').selectAll().where('ended_at', 'is', null);
  if (page.marker !== undefined) query = query.where('id', '>', page.marker);
  return (await query.orderBy('id').limit(page.limit).execute()).map(quarantinedOf);
}

interface FoundGuest extends Pick<Quarantined, 'host' | 'generation' | 'wasRunning' | 'reason' | 'foundAt'> {
  readonly serverId: string;
}

/** Puts the guest on record; harmless when it is. */
export async function quarantine(p: Platform, found: Omit<FoundGuest, 'foundAt'>): Promise<void> {
  const isNew = await quarantineWithin(p.stores.global, { ...found, foundAt: p.clock.now() });
  if (isNew) p.log.warn({ ...found }, `guest in quarantine: ${found.reason}`);
}

/** The same with a transaction. Returns whether it was not on record. */
export async function quarantineWithin(db: Kysely<GlobalTables>, found: FoundGuest): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await db
    .insertInto('quarantine')
    .values({
      id: newId(),
      kind: 'guest',
      host: found.host,
      server_id: found.serverId,
      generation: found.generation,
      was_running: found.wasRunning ? 1 : 0,
      bytes: null,
      reason: found.reason,
      found_at: found.foundAt,
      ended_at: null,
      outcome: null,
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

/** Kept, or released: as far as is known it is on the host. */
export const isThere = (where: ExpressionBuilder<GlobalTables, 'quarantine'>) =>
  where.or([where('ended_at', 'is', null), where('outcome', '=', 'released')]);

/** Hosts that have, or may have, a guest of the server's that is not the server's any more. */
export async function hostsWithRemains(db: Kysely<GlobalTables>, serverId: string): Promise<string[]> {
  const owed = db
    .selectFrom('debts')
    .select('host')
    .where('kind', 'in', ['destroy-guest', 'destroy-remains'])
    .where('server_id', '=', serverId)
    .where('paid_at', 'is', null);
  const rows = await db
    .selectFrom('quarantine')
    .select('host')
    .where('server_id', '=', serverId)
    .where(isThere)
    .union(owed)
    .execute();
  return rows.map(({ host }) => host);
}

/** The guest stays as it is, and is left alone from now on. */
export async function release(p: Platform, actor: Actor, id: string): Promise<Refusal | null> {
  const { numUpdatedRows } = await p.stores.global
    .updateTable('quarantine')
    .set({ ended_at: p.clock.now(), outcome: 'released' })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .executeTakeFirst();
  if (numUpdatedRows === 0n) return notFound(id);
  p.log.warn({ quarantine: id, by: actor.userId }, 'guest released from quarantine');
  return null;
}

/**
 * The guest and its disks, or the files, also what was released, are destroyed as soon as the host can be asked to; 409
 * when it may be somebody's.
 */
export async function destroy(p: Platform, actor: Actor, id: string): Promise<Refusal | null> {
  const row = await p.stores.global
    .selectFrom('quarantine')
    .selectAll()
    .where('id', '=', id)
    .where(isThere)
    .executeTakeFirst();
  if (!row) return notFound(id);
  const { kind, host, server_id: serverId } = row;
  // Before the look: a saga that begins behind it has a newer generation, and the host refuses the debt.
  const generation = await nextFence(p.stores.global);
  const is = kind === 'volume' ? await ownsVolume(p, host, serverId) : await ownership(p, host, serverId);
  if (is !== 'stray') return { code: 409, message: whyNot(row, is) };
  const debt = { host, serverId, generation, sagaId: id };
  const reason = `quarantined ${kind}, destroyed by ${actor.userId}`;
  if (kind === 'volume') await owe(p, { kind: 'delete-remains', volumeId: serverId, ...debt, reason });
  else await owe(p, { kind: kind === 'remains' ? 'destroy-remains' : 'destroy-guest', ...debt, reason });
  await p.stores.global
    .updateTable('quarantine')
    .set({ ended_at: p.clock.now(), outcome: 'destroyed' })
    .where('host', '=', host)
    .where('server_id', '=', serverId)
    .where(isThere)
    .execute();
  return null;
}

/** Why that is not destroyed, and what to do about it. */
function whyNot(
  { kind, host, server_id: id }: Selectable<GlobalTables['quarantine']>,
  is: 'owned' | 'perhaps',
): string {
  const what = { remains: `What ${host} keeps of server ${id}`, volume: `What ${host} keeps of volume ${id}` }[kind];
  const subject = what ?? `The guest of server ${id} on ${host}`;
  if (is === 'perhaps') return `${subject} cannot be proven to be of nobody now: try again later.`;
  if (what === undefined) return `${subject} belongs there again.`;
  const file = kind === 'volume' ? `records/volumes/${id}.json` : `records/${id}.json`;
  const other = kind === 'volume' ? 'delete the volume' : 'evacuate or delete the server';
  return `${what} belongs there: put ${file} back from a backup of the host's state directory and restart its agent, or ${other}.`;
}

/** Closes the record of the guest, if there is an open one. */
export async function endQuarantine(
  p: Platform,
  host: string,
  serverId: string,
  outcome: 'destroyed' | 'returned',
): Promise<void> {
  await p.stores.global
    .updateTable('quarantine')
    .set({ ended_at: p.clock.now(), outcome })
    .where('host', '=', host)
    .where('server_id', '=', serverId)
    .where('ended_at', 'is', null)
    .execute();
}

const notFound = (id: string): Refusal => ({ code: 404, message: `Nothing in quarantine has the id ${id}.` });
