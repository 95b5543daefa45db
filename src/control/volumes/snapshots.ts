// Snapshots of volumes, as recorded: a volume's content at one moment, kept at its storage host until it is deleted.
import type { Kysely, Selectable, Updateable } from 'kysely';
import { isUuid } from '../../lib/ids.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { type Snapshot, type SnapshotStatus, snapshotNotFound, type Volume } from '../../model/volumes.ts';
import { forUpdate } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { openSaga } from '../../store/sagas.ts';
import { everyOne, newestFirst } from './newest.ts';

type Db = Kysely<GlobalTables>;

const snapshotOf = (row: Selectable<GlobalTables['volume_snapshots']>): Snapshot => ({
  id: row.id,
  volumeId: row.volume_id,
  name: row.name,
  description: row.description,
  projectId: row.project_id,
  userId: row.user_id,
  sizeGb: row.size_gb,
  status: row.status as SnapshotStatus,
  metadata: JSON.parse(row.metadata_json) as Record<string, string>,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

export async function findSnapshot(db: Db, id: string): Promise<Snapshot | null> {
  if (!isUuid(id)) return null;
  const row = await db.selectFrom('volume_snapshots').selectAll().where('id', '=', id).executeTakeFirst();
  return row ? snapshotOf(row) : null;
}

/** The snapshot, if the actor may see it; else 404. */
export async function snapshotFor(db: Db, actor: Actor, id: string): Promise<Snapshot | Refusal> {
  const snapshot = await findSnapshot(db, id);
  if (!snapshot || (snapshot.projectId !== actor.projectId && !isAdmin(actor))) {
    return snapshotNotFound(id.slice(0, 255));
  }
  return snapshot;
}

/** The newest snapshot that the volume's project has of it, in whatever state; null: it has none. */
export async function latestSnapshot(
  db: Db,
  { id, projectId }: Pick<Volume, 'id' | 'projectId'>,
): Promise<Snapshot | null> {
  const all = db.selectFrom('volume_snapshots').selectAll().where('volume_id', '=', id);
  const query = all.where('project_id', '=', projectId);
  const row = await query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(1).executeTakeFirst();
  return row ? snapshotOf(row) : null;
}

export async function createSnapshotRecord(trx: Db, snapshot: Snapshot): Promise<void> {
  await trx
    .insertInto('volume_snapshots')
    .values({
      id: snapshot.id,
      volume_id: snapshot.volumeId,
      name: snapshot.name,
      description: snapshot.description,
      project_id: snapshot.projectId,
      user_id: snapshot.userId,
      size_gb: snapshot.sizeGb,
      status: snapshot.status,
      metadata_json: JSON.stringify(snapshot.metadata),
      created_at: snapshot.createdAt,
      updated_at: snapshot.updatedAt,
    })
    .execute();
}

/** Compare-and-set on the status. False when the snapshot is gone or has none of `from`. */
export async function changeSnapshotStatus(
  db: Db,
  id: string,
  from: readonly SnapshotStatus[],
  change: Updateable<GlobalTables['volume_snapshots']>,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('volume_snapshots')
    .set(change)
    .where('id', '=', id)
    .where('status', 'in', from)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/**
 * Whether something is done to the volume that may not meet another thing: a saga on it, or a snapshot that a server's saga
 * takes. For whoever holds the volume's row (lockVolume), as all who begin such things do.
 */
export async function isBusy(trx: Db, volumeId: string): Promise<boolean> {
  return (await openSaga(trx, volumeId)) !== undefined || (await isBeingTaken(trx, volumeId));
}

/** Whether a snapshot of the volume is being taken. */
export async function isBeingTaken(trx: Db, volumeId: string): Promise<boolean> {
  const snapshot = await trx
    .selectFrom('volume_snapshots')
    .select('id')
    .where('volume_id', '=', volumeId)
    .where('status', '=', 'creating')
    .limit(1)
    .executeTakeFirst();
  return snapshot !== undefined;
}

export async function deleteSnapshotRecord(trx: Db, id: string): Promise<void> {
  await trx.deleteFrom('volume_snapshots').where('id', '=', id).execute();
}

export interface SnapshotFilter {
  /** Null: all projects'. */
  readonly projectId: string | null;
  readonly volumeId?: string;
  /** Of its volume. */
  readonly zone?: string;
  readonly name?: string;
  readonly statuses?: readonly string[];
}

/** Snapshots, newest first, all that there are. */
export const listSnapshots = (db: Db, filter: SnapshotFilter): Promise<Snapshot[]> =>
  everyOne(snapshotsFrom(db, filter));

/** The same, some at a time. `from`: beginning with this snapshot; none come when there is no such one. */
export async function* snapshotsFrom(
  db: Db,
  filter: SnapshotFilter,
  from?: string,
): AsyncGenerator<readonly Snapshot[]> {
  let query = db.selectFrom('volume_snapshots').selectAll();
  if (filter.projectId !== null) query = query.where('project_id', '=', filter.projectId);
  if (filter.volumeId !== undefined) query = query.where('volume_id', '=', filter.volumeId);
  const { zone } = filter;
  if (zone !== undefined)
    query = query.where('volume_id', 'in', (from) => from.selectFrom('volumes').select('id').where('zone', '=', zone));
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.statuses !== undefined) query = query.where('status', 'in', filter.statuses);
  for await (const rows of newestFirst('volume_snapshots', query, from)) yield rows.map(snapshotOf);
}

export interface SnapshotEdit {
  readonly name?: string | null;
  readonly description?: string | null;
  /** The new metadata, made from the present ones. */
  readonly metadata?: (present: Readonly<Record<string, string>>) => Readonly<Record<string, string>>;
}

/** Changes what the user may change at any time; null when it is gone. */
export async function editSnapshot(db: Db, id: string, edit: SnapshotEdit, now: number): Promise<Snapshot | null> {
  return db.transaction().execute(async (trx) => {
    const row = await trx
      .selectFrom('volume_snapshots')
      .selectAll()
      .where('id', '=', id)
      .modifyEnd(forUpdate(trx))
      .executeTakeFirst();
    if (!row) return null;
    const present = snapshotOf(row);
    const changed: Snapshot = {
      ...present,
      name: edit.name === undefined ? present.name : edit.name,
      description: edit.description === undefined ? present.description : edit.description,
      metadata: edit.metadata?.(present.metadata) ?? present.metadata,
      updatedAt: now,
    };
    await trx
      .updateTable('volume_snapshots')
      .set({
        ...{ name: changed.name, description: changed.description, updated_at: now },
        metadata_json: JSON.stringify(changed.metadata),
      })
      .where('id', '=', id)
      .execute();
    return changed;
  });
}
