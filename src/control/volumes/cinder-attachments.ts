// Attachments in a Cinder, and what is on record of them here.
//
// Theory of operation. In Cinder a server has two kinds of attachment of a volume: a *hold*, which is never connected and
// keeps the volume from others for as long as the ledger has any attachment of it for the server; and, while a host has
// access, one that is connected from there. Each is used once: opened, connected, closed.
//   row without cinder_id ── Cinder reserves ──> row with it ── close ──> going = 1 ── Cinder has deleted ──> (no row)
// The row is written before Cinder is asked. One whose answer was lost has no cinder_id; it is closed and another takes its
// place. For GRACE_MS what Cinder may have made of the lost one is looked for, among the server's attachments there that
// no row knows, and deleted. It was never connected: only what is on record is.
// At most one row per attachment is open (a partial unique index); the hold's attachment_id is ''.
// How the guest reaches the volume is on record once it is connected (there are no secrets in it): granting again, when a
// move turns back, asks nothing of Cinder.
// `generation` is the highest that was seen for the server, the same in all its rows but those of new holds: Cinder knows
// none, so it is compared here before Cinder is asked, and whoever has asked looks once more whether its row is still open.
import type { Kysely } from 'kysely';
import type { VolumeConnection } from '../../host/contract.ts';
import { newId } from '../../lib/ids.ts';
import type { Cinder } from '../../openstack/cinder.ts';
import type { Said } from '../../openstack/session.ts';
import { ServiceDown } from '../../openstack/transport.ts';
import { exclusively } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { Platform } from '../platform.ts';

/** In the place of the ledger's attachment. */
export const HOLD = '';
/** After that long no request that was sent is under way any more. */
export const GRACE_MS = 10 * 60_000;

type Db = Kysely<GlobalTables>;

export interface Key {
  readonly volumeId: string;
  readonly serverId: string;
  /** The ledger's attachment, or HOLD. */
  readonly attachmentId: string;
}

export interface Row extends Key {
  readonly id: string;
  readonly cinderId: string | null;
  readonly generation: number;
  readonly createdAt: number;
  /** Null: not connected yet, as far as is on record. */
  readonly connection: VolumeConnection | null;
}

const rows = (db: Db) =>
  db
    .selectFrom('cinder_attachments as c')
    .select(['c.id', 'c.cinder_id', 'c.volume_id', 'c.server_id', 'c.attachment_id', 'c.generation', 'c.created_at'])
    .select('c.connection_json')
    .orderBy('c.created_at')
    .orderBy('c.id');

const rowOf = (row: Awaited<ReturnType<ReturnType<typeof rows>['execute']>>[number]): Row => ({
  ...{ id: row.id, cinderId: row.cinder_id, volumeId: row.volume_id, serverId: row.server_id },
  ...{ attachmentId: row.attachment_id, generation: row.generation, createdAt: row.created_at },
  connection: row.connection_json === null ? null : (JSON.parse(row.connection_json) as VolumeConnection),
});

/** All rows of the server that are open, or all that are going. */
export const rowsOf = async (db: Db, serverId: string, going: boolean): Promise<Row[]> =>
  (
    await rows(db)
      .where('server_id', '=', serverId)
      .where('going', '=', going ? 1 : 0)
      .execute()
  ).map(rowOf);

/** Rows that are going, of all servers, oldest first. */
export const goingRows = async (db: Db, limit: number): Promise<Row[]> =>
  (await rows(db).where('going', '=', 1).limit(limit).execute()).map(rowOf);

/**
 * Open rows that the ledger has nothing for any more: holds that are older than `takenBefore` or that a saga has seen, and
 * others whose attachment is gone. `serverId`: of this server alone.
 */
export async function forsaken(db: Db, takenBefore: number, limit: number, serverId?: string): Promise<Row[]> {
  let query = rows(db)
    .leftJoin('volume_attachments as a', (join) =>
      join
        .onRef('a.volume_id', '=', 'c.volume_id')
        .onRef('a.server_id', '=', 'c.server_id')
        .on((eb) => eb.or([eb('c.attachment_id', '=', HOLD), eb('a.id', '=', eb.ref('c.attachment_id'))])),
    )
    .where('a.id', 'is', null)
    .where('c.going', '=', 0)
    .where((eb) =>
      eb.or([eb('c.attachment_id', '<>', HOLD), eb('c.generation', '>', 0), eb('c.created_at', '<', takenBefore)]),
    )
    .limit(limit);
  if (serverId !== undefined) query = query.where('c.server_id', '=', serverId);
  return (await query.execute()).map(rowOf);
}

/** The server's highest generation is at least this; else the higher one that it is. */
export async function enter(db: Db, serverId: string, generation: number): Promise<number> {
  return db.transaction().execute(async (trx) => {
    const seen = await highestOf(trx, serverId);
    if (seen >= generation) return seen;
    await trx.updateTable('cinder_attachments').set({ generation }).where('server_id', '=', serverId).execute();
    return generation;
  });
}

/** Nobody raises it before the transaction ends. */
async function highestOf(trx: Db, serverId: string): Promise<number> {
  await exclusively(trx, `cinder ${serverId}`);
  const { highest } = await trx
    .selectFrom('cinder_attachments')
    .select((eb) => eb.fn.max('generation').as('highest'))
    .where('server_id', '=', serverId)
    .executeTakeFirstOrThrow();
  return Number(highest ?? 0);
}

/** The open row of this attachment; null: it has none. */
export async function openRow(db: Db, key: Key): Promise<Row | null> {
  const row = await rows(db)
    .where('volume_id', '=', key.volumeId)
    .where('server_id', '=', key.serverId)
    .where('attachment_id', '=', key.attachmentId)
    .where('going', '=', 0)
    .executeTakeFirst();
  return row ? rowOf(row) : null;
}

/** The attachment is in Cinder, and on record with its id there. Refused when the volume is not free. @throws ServiceDown */
export async function open(
  p: Platform,
  cinder: Cinder,
  key: Key,
  how: { readonly generation: number; readonly mode: 'rw' | 'ro' },
): Promise<Said<string>> {
  const db = p.stores.global;
  const known = await openRow(db, key);
  if (known?.cinderId) return { kind: 'ok', status: 200, body: known.cinderId, headers: new Headers() };
  if (known) await markGoing(db, known.id);
  const id = newId();
  await announce(db, { ...key, id, generation: how.generation, createdAt: p.clock.now() });
  const said = await cinder.reserve({ ...key, mode: how.mode });
  if (said.kind === 'refused') {
    await forget(db, id);
    return said;
  }
  await db.updateTable('cinder_attachments').set({ cinder_id: said.body.id }).where('id', '=', id).execute();
  const now = await openRow(db, key);
  if (now?.id === id) return { ...said, body: said.body.id };
  // Somebody has closed it meanwhile, and did not know what to delete.
  const { generation } = how;
  const late = { ...key, id, cinderId: said.body.id, generation, createdAt: p.clock.now(), connection: null };
  await close(p, cinder, late);
  throw new ServiceDown(`the attachment of volume ${key.volumeId} was overtaken`);
}

/**
 * The row of an attachment that Cinder is about to be asked for. Not by who was overtaken since it was let in: whoever has
 * overtaken it need not look for what is not there yet. A hold does no harm.
 */
async function announce(db: Db, row: Omit<Row, 'cinderId' | 'connection'>): Promise<void> {
  const { id, volumeId, serverId, attachmentId, generation, createdAt } = row;
  await db.transaction().execute(async (trx) => {
    const highest = await highestOf(trx, serverId);
    if (attachmentId !== HOLD && highest > generation) throw new ServiceDown(`overtaken by generation ${highest}`);
    const { numInsertedOrUpdatedRows } = await trx
      .insertInto('cinder_attachments')
      .values({
        ...{ id, cinder_id: null, volume_id: volumeId, server_id: serverId, attachment_id: attachmentId, generation },
        ...{ going: 0, connection_json: null, created_at: createdAt },
      })
      .onConflict((any) => any.doNothing())
      .executeTakeFirst();
    if (numInsertedOrUpdatedRows === 0n) throw new ServiceDown(`volume ${volumeId} is being taken by somebody else`);
  });
}

/**
 * The attachment is gone from Cinder; what is not known to be stays on record as going. @throws ServiceDown,
 * CinderRefused
 */
export async function close(p: Platform, cinder: Cinder, row: Row): Promise<void> {
  const db = p.stores.global;
  // While Cinder is away nothing begins to go: whoever turns back then finds it as it was.
  await cinder.ping();
  await markGoing(db, row.id);
  if (row.cinderId !== null) {
    await cinder.detach(row.cinderId);
    await forget(db, row.id);
    return;
  }
  const mayBeUnderWay = (await rowsOf(db, row.serverId, false)).some(
    ({ volumeId, cinderId }) => volumeId === row.volumeId && cinderId === null,
  );
  if (mayBeUnderWay) return;
  const there = await cinder.attachmentsOf(row.serverId);
  const known = new Set(
    [...(await rowsOf(db, row.serverId, false)), ...(await rowsOf(db, row.serverId, true))].map(
      (each) => each.cinderId,
    ),
  );
  for (const { id, volume_id: volumeId } of there) {
    if (volumeId === row.volumeId && !known.has(id)) await cinder.detach(id);
  }
  if (row.createdAt < p.clock.now() - GRACE_MS) await forget(db, row.id);
}

/** It is connected like this. False: it is not open any more. */
export async function writeConnection(db: Db, cinderId: string, connection: VolumeConnection): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('cinder_attachments')
    .set({ connection_json: JSON.stringify(connection) })
    .where('cinder_id', '=', cinderId)
    .where('going', '=', 0)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

const markGoing = async (db: Db, id: string): Promise<void> =>
  void (await db.updateTable('cinder_attachments').set({ going: 1 }).where('id', '=', id).execute());

/** Cinder does not have it any more. */
export const forget = async (db: Db, id: string): Promise<void> =>
  void (await db.deleteFrom('cinder_attachments').where('id', '=', id).execute());
