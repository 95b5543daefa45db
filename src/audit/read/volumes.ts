// Volumes, who has them on record, and whom the storage hosts let in.
import type { Kysely } from 'kysely';
import { type DebtKind, KEPT_CONTENT } from '../../control/owing.ts';
import type { Platform } from '../../control/platform.ts';
import { listStorageHosts } from '../../control/volumes/storage-hosts.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import { OPEN_STATUSES } from '../../store/sagas.ts';
import type { AttachmentView, StorageView, VolumeView } from '../snapshot.ts';
import { NO_FILES, viewOf } from './host-files.ts';
import { inPieces, inSlice, type Slice, within } from './slice.ts';

type Db = Kysely<GlobalTables>;

/** Attachments of the slice's servers. */
export async function readAttachments(db: Db, slice: Slice): Promise<AttachmentView[]> {
  const all = db
    .selectFrom('volume_attachments as a')
    .innerJoin('volumes as v', 'v.id', 'a.volume_id')
    .select(['a.id', 'a.volume_id', 'a.server_id', 'a.host', 'a.active', 'v.storage_host']);
  const rows = await inSlice(all, 'a.server_id', slice).execute();
  return rows.map((row) => ({
    ...{ id: row.id, volumeId: row.volume_id, serverId: row.server_id, host: row.host, active: row.active === 1 },
    storageHost: row.storage_host,
  }));
}

/** Volumes whose ids are in the slice. */
export async function readVolumes(db: Db, slice: Slice): Promise<Omit<VolumeView, 'busy'>[]> {
  const all = db.selectFrom('volumes').select(['id', 'status', 'storage_host', 'multiattach']);
  const rows = await inSlice(all, 'id', slice).execute();
  const ofVolumes = db.selectFrom('volume_snapshots').select(['id', 'volume_id', 'status']);
  const snapshots = Map.groupBy(await inSlice(ofVolumes, 'volume_id', slice).execute(), (row) => row.volume_id);
  const has = db.selectFrom('volume_attachments').select(['volume_id', 'server_id', 'attached_at']);
  const attachments = Map.groupBy(await inSlice(has, 'volume_id', slice).execute(), (row) => row.volume_id);
  return rows.map((row) => {
    const own = snapshots.get(row.id) ?? [];
    return {
      ...{ id: row.id, status: row.status, storageHost: row.storage_host, multiattach: row.multiattach === 1 },
      attachments: (attachments.get(row.id) ?? []).map(({ server_id, attached_at }) => ({
        ...{ serverId: server_id, attached: attached_at !== null },
      })),
      snapshots: new Set(own.map((each) => each.id)),
      available: own.filter((each) => each.status === 'available').map((each) => each.id),
      creating: own.filter((each) => each.status === 'creating').map((each) => each.id),
    };
  });
}

/** The same, with whether a saga worked on them since. `busy`: what one worked on in the slice. */
export async function readBusyVolumes(
  db: Db,
  volumes: readonly Omit<VolumeView, 'busy'>[],
  busy: ReadonlySet<string>,
  slice: Slice,
  since: number,
): Promise<VolumeView[]> {
  // A volume's servers may be in other slices.
  const elsewhere = volumes.flatMap(({ attachments }) =>
    attachments.map(({ serverId }) => serverId).filter((id) => !within(slice, id)),
  );
  const far = await busyAmong(db, new Set(elsewhere), since);
  const isBusy = (id: string): boolean => busy.has(id) || far.has(id);
  return volumes.map((volume) => ({
    ...volume,
    busy: isBusy(volume.id) || volume.attachments.some(({ serverId }) => isBusy(serverId)),
  }));
}

async function busyAmong(db: Db, keys: ReadonlySet<string>, since: number): Promise<Set<string>> {
  const recent = db
    .selectFrom('sagas')
    .select('key')
    .where((where) => where.or([where('ended_at', 'is', null), where('ended_at', '>=', since)]));
  const rows = await inPieces(keys, (some) => recent.where('key', 'in', some).execute());
  return new Set(rows.map(({ key }) => key));
}

/** Volumes of the slice of which something of these kinds is owed. */
export async function readVolumesOwed(db: Db, slice: Slice, kinds: readonly DebtKind[]): Promise<Set<string>> {
  const debts = db.selectFrom('debts').select('volume_id').where('kind', 'in', kinds).where('paid_at', 'is', null);
  const rows = await inSlice(debts, 'volume_id', slice).execute();
  return new Set(rows.flatMap((row) => (row.volume_id === null ? [] : [row.volume_id])));
}

/** What each storage host keeps of the slice's volumes, and whom of the slice's servers it lets in. */
export async function readStorage(p: Platform, slice: Slice): Promise<StorageView[]> {
  const views: StorageView[] = [];
  for (const { name } of await listStorageHosts(p)) {
    const host = await p.storage(name);
    const reply = await host.heartbeat();
    if (reply.kind !== 'ok') {
      const unreachable = reply.kind === 'unreachable' ? reply.reason : `it answered '${reply.kind}' to a heartbeat`;
      views.push({ name, unreachable, files: NO_FILES, keeps: [], snapshots: new Map(), access: [] });
      continue;
    }
    const { volumes } = reply.value;
    const passing = await snapshotsOfSagas(p.stores.global);
    const access = volumes.flatMap(({ volumeId, grants }) =>
      grants.map(({ attachmentId, serverId }) => ({ volumeId, attachmentId, serverId })),
    );
    views.push({
      ...{ name, unreachable: null },
      files: viewOf(
        slice,
        await host.files(),
        reply.value.remains.map(({ volumeId }) => volumeId),
      ),
      keeps: volumes.map(({ volumeId }) => volumeId).filter((id) => within(slice, id)),
      snapshots: new Map(
        volumes
          .filter(({ volumeId }) => within(slice, volumeId))
          .map(({ volumeId, snapshots }) => [volumeId, snapshots.filter((id) => !passing.has(id))]),
      ),
      access: access.filter(({ serverId }) => within(slice, serverId)),
    });
  }
  return views;
}

/**
 * What a rebuild keeps of a root volume until the server runs is named after its saga; that it goes, or is written back,
 * may be owed.
 */
async function snapshotsOfSagas(db: Db): Promise<Set<string>> {
  const owed = await db
    .selectFrom('debts')
    .select('saga_id')
    .where('kind', 'in', KEPT_CONTENT)
    .where('paid_at', 'is', null)
    .execute();
  const rows = await db
    .selectFrom('sagas')
    .select('id')
    .where('definition', '=', 'rebuild root volume')
    .where('status', 'in', OPEN_STATUSES)
    .execute();
  return new Set([...rows.map((row) => row.id), ...owed.map((row) => row.saga_id)]);
}
