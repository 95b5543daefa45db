// Volumes as recorded. One row each in the global database; what they hold is at their storage host.
//
// A volume's row is made in the transaction of the request (status creating), so that quotas hold for what is under way,
// and goes when its storage host has let it go (or owes that). Name, description, metadata and the like are single-row
// writes. Status is only ever changed by compare-and-set from one that allows it.
import type { Kysely, Selectable, Updateable } from 'kysely';
import { isUuid } from '../../lib/ids.ts';
import { type Actor, isAdmin, type Refusal } from '../../model/types.ts';
import { type Volume, type VolumeImage, type VolumeStatus, volumeNotFound } from '../../model/volumes.ts';
import { forUpdate } from '../../store/dialect.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { everyOne, newestFirst } from './newest.ts';

type Db = Kysely<GlobalTables>;
export type VolumeRow = Selectable<GlobalTables['volumes']>;

const volumeOf = (row: VolumeRow): Volume => ({
  id: row.id,
  name: row.name,
  description: row.description,
  projectId: row.project_id,
  userId: row.user_id,
  sizeGb: row.size_gb,
  status: row.status as VolumeStatus,
  storageHost: row.storage_host,
  typeId: row.type_id,
  zone: row.zone,
  multiattach: row.multiattach === 1,
  bootable: row.bootable === 1,
  snapshotId: row.snapshot_id,
  sourceVolumeId: row.source_volume_id,
  image: row.image_json === null ? null : (JSON.parse(row.image_json) as VolumeImage),
  metadata: JSON.parse(row.metadata_json) as Record<string, string>,
  generation: row.generation,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

const rowOf = (volume: Volume): VolumeRow => ({
  id: volume.id,
  name: volume.name,
  description: volume.description,
  project_id: volume.projectId,
  user_id: volume.userId,
  size_gb: volume.sizeGb,
  status: volume.status,
  storage_host: volume.storageHost,
  type_id: volume.typeId,
  zone: volume.zone,
  multiattach: volume.multiattach ? 1 : 0,
  bootable: volume.bootable ? 1 : 0,
  snapshot_id: volume.snapshotId,
  source_volume_id: volume.sourceVolumeId,
  image_json: volume.image === null ? null : JSON.stringify(volume.image),
  metadata_json: JSON.stringify(volume.metadata),
  generation: volume.generation,
  created_at: volume.createdAt,
  updated_at: volume.updatedAt,
});

/** The volume of that id, whoever's it is; null: there is none. */
export async function findVolume(db: Db, id: string): Promise<Volume | null> {
  if (!isUuid(id)) return null;
  const row = await db.selectFrom('volumes').selectAll().where('id', '=', id).executeTakeFirst();
  return row ? volumeOf(row) : null;
}

/** The volume, if the actor may see it: a project's own, or anybody's for an administrator. Else 404. */
export async function volumeFor(db: Db, actor: Actor, id: string): Promise<Volume | Refusal> {
  const volume = await findVolume(db, id);
  if (!volume || (volume.projectId !== actor.projectId && !isAdmin(actor))) return volumeNotFound(id.slice(0, 255));
  return volume;
}

/** Inserts the row. In the transaction that has checked the quota (quota.ts). */
export async function createVolumeRecord(trx: Db, volume: Volume): Promise<void> {
  await trx.insertInto('volumes').values(rowOf(volume)).execute();
}

/** The row is gone, and with it those of its attachments, snapshots and transfer. Harmless when repeated. */
export async function deleteVolumeRecord(trx: Db, id: string): Promise<void> {
  await trx.deleteFrom('volume_attachments').where('volume_id', '=', id).execute();
  await trx.deleteFrom('volume_snapshots').where('volume_id', '=', id).execute();
  await trx.deleteFrom('volume_transfers').where('volume_id', '=', id).execute();
  await trx.deleteFrom('volumes').where('id', '=', id).execute();
}

/** Compare-and-set on the status. False when the volume is gone or has none of `from`. */
export async function changeStatus(
  db: Db,
  id: string,
  from: readonly VolumeStatus[],
  change: Updateable<GlobalTables['volumes']>,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('volumes')
    .set(change)
    .where('id', '=', id)
    .where('status', 'in', from)
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

export interface VolumeFilter {
  /** Null: all projects'. */
  readonly projectId: string | null;
  readonly ids?: readonly string[];
  readonly name?: string;
  readonly statuses?: readonly string[];
  readonly zone?: string;
  readonly bootable?: boolean;
  readonly multiattach?: boolean;
  readonly snapshotId?: string;
  readonly storageHost?: string;
  /** Every one of these, with this value. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Volumes, newest first, all that there are. */
export const listVolumes = (db: Db, filter: VolumeFilter): Promise<Volume[]> => everyOne(volumesFrom(db, filter));

/** The same, some at a time. `from`: beginning with this volume; none come when there is no such one. */
export async function* volumesFrom(db: Db, filter: VolumeFilter, from?: string): AsyncGenerator<readonly Volume[]> {
  let query = db.selectFrom('volumes').selectAll();
  if (filter.projectId !== null) query = query.where('project_id', '=', filter.projectId);
  if (filter.ids !== undefined)
    query = filter.ids.length === 0 ? query.where('id', 'is', null) : query.where('id', 'in', filter.ids);
  if (filter.name !== undefined) query = query.where('name', '=', filter.name);
  if (filter.statuses !== undefined) query = query.where('status', 'in', filter.statuses);
  if (filter.zone !== undefined) query = query.where('zone', '=', filter.zone);
  if (filter.bootable !== undefined) query = query.where('bootable', '=', filter.bootable ? 1 : 0);
  if (filter.multiattach !== undefined) query = query.where('multiattach', '=', filter.multiattach ? 1 : 0);
  if (filter.snapshotId !== undefined) query = query.where('snapshot_id', '=', filter.snapshotId);
  if (filter.storageHost !== undefined) query = query.where('storage_host', '=', filter.storageHost);
  const wanted = Object.entries(filter.metadata ?? {});
  for await (const rows of newestFirst('volumes', query, from)) {
    yield rows.map(volumeOf).filter(({ metadata }) => wanted.every(([key, value]) => metadata[key] === value));
  }
}

export interface VolumeEdit {
  readonly name?: string | null;
  readonly description?: string | null;
  readonly bootable?: boolean;
  /** The new metadata, made from the present ones. */
  readonly metadata?: (present: Readonly<Record<string, string>>) => Readonly<Record<string, string>>;
  /** What it remembers of an image, made from what it does. */
  readonly image?: (present: VolumeImage | null) => VolumeImage | null;
}

/** Changes what the user may change at any time. Answers the volume as it is now; null when it is gone. */
export async function editVolume(db: Db, id: string, edit: VolumeEdit, now: number): Promise<Volume | null> {
  return db.transaction().execute(async (trx) => {
    const volume = await lockVolume(trx, id);
    if (!volume) return null;
    const changed: Volume = {
      ...volume,
      name: edit.name === undefined ? volume.name : edit.name,
      description: edit.description === undefined ? volume.description : edit.description,
      bootable: edit.bootable ?? volume.bootable,
      metadata: edit.metadata?.(volume.metadata) ?? volume.metadata,
      image: edit.image ? edit.image(volume.image) : volume.image,
      updatedAt: now,
    };
    const { name, description, bootable, metadata_json, image_json, updated_at } = rowOf(changed);
    await trx
      .updateTable('volumes')
      .set({ name, description, bootable, metadata_json, image_json, updated_at })
      .where('id', '=', id)
      .execute();
    return changed;
  });
}

/** The volume, which nobody else changes before the transaction ends. */
export async function lockVolume(trx: Db, id: string): Promise<Volume | null> {
  const row = await trx
    .selectFrom('volumes')
    .selectAll()
    .where('id', '=', id)
    .modifyEnd(forUpdate(trx))
    .executeTakeFirst();
  return row ? volumeOf(row) : null;
}
