// What a repair has to prove before it changes anything.
//
// Theory of operation. The audit looked a moment ago and without locks: nothing of what it saw is taken for granted here.
// A repair of global rows locks the row that it is about to change, and only then looks, in the same transaction,
// whether anybody may own it: whoever comes later finds it changed, whoever came before is seen. A repair in a cell, or
// on a host, first takes a new generation from the sequence that sagas take theirs from, and acts under it: a saga that
// begins behind the look has a newer one, and fences the repair off; one that began before it is seen as active.
import type { Kysely } from 'kysely';
import type { Platform } from '../../control/platform.ts';
import { findServer } from '../../control/servers.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { openSaga } from '../../store/sagas.ts';
import { CellDown } from '../../store/stores.ts';

export type Repaired =
  | { readonly kind: 'repaired'; readonly did: string }
  /** It could not be proven, or was not the case any more; nothing was changed. */
  | { readonly kind: 'left'; readonly why: string };

export const repaired = (did: string): Repaired => ({ kind: 'repaired', did });
export const left = (why: string): Repaired => ({ kind: 'left', why });

type Db = Kysely<GlobalTables>;

/** Undoes the transaction in which a proof failed. */
export class Unproven extends Error {
  override readonly name = 'Unproven';
}

/** Runs a repair whose proof fails by throwing Unproven. */
export async function proven(work: () => Promise<Repaired>): Promise<Repaired> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Unproven) return left(error.message);
    if (error instanceof CellDown) return left(error.message);
    throw error;
  }
}

/** @throws Unproven when a saga works on the server, or is stuck there */
export async function provenIdle(db: Db, serverId: string): Promise<void> {
  const saga = await openSaga(db, serverId);
  if (saga) throw new Unproven(`${saga.definition} ${saga.id} works on the server`);
}

export const mappingOf = (db: Db, serverId: string) =>
  db.selectFrom('server_mappings').selectAll().where('server_id', '=', serverId).executeTakeFirst();

/**
 * The server is deleted, and its home says so too; or nobody ever knew it, and no cell keeps a record of it.
 * @throws Unproven, CellDown
 */
export async function provenGone(p: Platform, db: Db, serverId: string): Promise<void> {
  await provenIdle(db, serverId);
  const mapping = await mappingOf(db, serverId);
  if (mapping) {
    if (mapping.deleted_at === null) throw new Unproven('the server exists');
    return provenDeleted(p, mapping.cell_id, serverId);
  }
  for (const { id, name } of await db.selectFrom('cells').select(['id', 'name']).execute()) {
    if (await hasRecord(p, id, serverId)) {
      throw new Unproven(`cell ${name} keeps a record of the server, and nothing says where its home is`);
    }
  }
}

/**
 * Of a server whose mapping says that it is deleted: a delete marks the record in the home first. Where that is not marked
 * the two contradict each other, and which of them is right only a person can tell.
 * @throws Unproven, CellDown
 */
export async function provenDeleted(p: Platform, homeCellId: string, serverId: string): Promise<void> {
  if (await hasRecord(p, homeCellId, serverId))
    throw new Unproven('the record in its home says that the server exists');
}

async function hasRecord(p: Platform, cellId: string, serverId: string): Promise<boolean> {
  const cell = await p.stores.cell(cellId);
  const record = await cell
    .selectFrom('servers')
    .select('id')
    .where('id', '=', serverId)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return record !== undefined;
}

/**
 * No server that exists (or not this one) has the volume by what its cell says, copies that a move has left included.
 * @throws Unproven, CellDown
 */
export async function provenUnmapped(p: Platform, db: Db, volumeId: string, serverId?: string): Promise<void> {
  for (const { id, name } of await db.selectFrom('cells').select(['id', 'name']).execute()) {
    const cell = await p.stores.cell(id);
    const mapped = await cell
      .selectFrom('block_device_mappings')
      .innerJoin('servers', 'servers.id', 'block_device_mappings.server_id')
      .select('servers.id')
      .where('volume_id', '=', volumeId)
      .where('servers.deleted_at', 'is', null)
      .$if(serverId !== undefined, (of) => of.where('server_id', '=', serverId ?? ''))
      .executeTakeFirst();
    if (mapped) throw new Unproven(`cell ${name} says that server ${mapped.id} has the volume`);
  }
}

/**
 * The server does not wait to be confirmed or reverted: as long as it does, what its source keeps may be its way back,
 * whatever has become of its migration. To be asked before the transaction: a move that begins behind it leaves closed
 * moves, and what was theirs, alone.
 * @throws Unproven, CellDown
 */
export async function provenSettled(p: Platform, serverId: string): Promise<void> {
  const found = await findServer(p, serverId);
  if (found.kind === 'down') throw new Unproven('the home of the server cannot be read, or has no record of it');
  if (found.kind === 'found' && found.server.vmState === 'resized') {
    throw new Unproven('the server waits to be confirmed or reverted');
  }
}
