// The volume service that is a Cinder: volumes are mirrored when they are named, taken before they are claimed, and given
// back when the ledger has nothing of them any more.
//
// Theory of operation. A record of a volume, under its id in Cinder, is made or brought up to date when a request names it;
// its status follows from the ledger's attachments as everywhere. Whether it is free Cinder says, when it is asked for a
// hold (cinder-attachments.ts), before anything is written here. A hold that was never claimed, and one whose attachments
// were released, are closed behind that, or by the periodic round: what Cinder has not heard of stands in the table.
// Two requests that take one volume for one server share the hold; should one close what the other is about to claim, the
// round takes the volume anew, and so does who connects it.
import { messageOf } from '../../lib/errors.ts';
import { isUuid } from '../../lib/ids.ts';
import { volumeNotFound } from '../../model/attachments.ts';
import { badRequest } from '../../model/refusal.ts';
import type { Refusal } from '../../model/types.ts';
import type { VolumeImage } from '../../model/volumes.ts';
import { type Cinder, CinderRefused, type CinderVolume } from '../../openstack/cinder.ts';
import { ServiceDown } from '../../openstack/transport.ts';
import type { Platform } from '../platform.ts';
import { close, forsaken, GRACE_MS, goingRows, HOLD, open, type Row } from './cinder-attachments.ts';
import { cinderStorage } from './cinder-storage.ts';
import { deleteVolumeRecord } from './records.ts';
import { CINDER, type VolumeService } from './service.ts';
import { defaultVolumeType } from './types.ts';

/** A hold is claimed within this time, or it is not wanted. */
const TAKEN_MS = 2 * 60_000;
/** Most that one round looks at of each kind. */
const BATCH = 500;

export const cinderVolumes = (cinder: Cinder): VolumeService => ({
  storage: (p) => cinderStorage(p, cinder),
  look: async (p, volumeId) => void (await mirror(p, cinder, volumeId)),
  async take(p, { serverId, projectId, volumeId }) {
    const volume = await mirror(p, cinder, volumeId);
    if (volume?.['os-vol-tenant-attr:tenant_id'] !== projectId) return volumeNotFound(volumeId);
    if (volume.encrypted)
      return badRequest(`Invalid volume: volume ${volumeId} is encrypted, which hosts here cannot open.`);
    const said = await open(p, cinder, { volumeId, serverId, attachmentId: HOLD }, { generation: 0, mode: 'rw' });
    if (said.kind === 'ok') return null;
    return said.status === 404 ? volumeNotFound(volumeId) : refusalOf(said.message);
  },
  // A moment later than anything that was taken.
  giveUp: async (p, serverId) =>
    closeAll(p, cinder, await forsaken(p.stores.global, p.clock.now() + 1, BATCH, serverId)),
  settle: async (p, serverId) =>
    closeAll(p, cinder, await forsaken(p.stores.global, p.clock.now() - TAKEN_MS, BATCH, serverId)),
  async payOwed(p) {
    await closeAll(p, cinder, await goingRows(p.stores.global, BATCH));
    await closeAll(p, cinder, await forsaken(p.stores.global, p.clock.now() - TAKEN_MS, BATCH));
    await holdAgain(p, cinder);
    await forgetUnused(p);
  },
});

/** Cinder's sentence, as Nova passes it on. */
const refusalOf = (message: string): Refusal => badRequest(`Invalid input received: ${message}`);

/** Nothing waits for this: what cannot be closed now is closed in a later round. */
async function closeAll(p: Platform, cinder: Cinder, rows: readonly Row[]): Promise<void> {
  for (const row of rows) {
    try {
      await close(p, cinder, row);
    } catch (error) {
      if (!(error instanceof ServiceDown || error instanceof CinderRefused)) throw error;
      const { volumeId, serverId } = row;
      p.log.warn({ volumeId, serverId }, `an attachment in Cinder is not deleted yet; it is owed: ${messageOf(error)}`);
    }
  }
}

/** Volumes that servers have are held. */
async function holdAgain(p: Platform, cinder: Cinder): Promise<void> {
  const lacking = await p.stores.global
    .selectFrom('volume_attachments as a')
    .innerJoin('volumes as v', 'v.id', 'a.volume_id')
    .select(['a.volume_id', 'a.server_id'])
    .distinct()
    .where('v.storage_host', '=', CINDER)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('cinder_attachments as c')
            .select('c.id')
            .whereRef('c.volume_id', '=', 'a.volume_id')
            .whereRef('c.server_id', '=', 'a.server_id')
            .where('c.attachment_id', '=', HOLD)
            .where('c.going', '=', 0)
            .where('c.cinder_id', 'is not', null),
        ),
      ),
    )
    .limit(BATCH)
    .execute();
  for (const { volume_id: volumeId, server_id: serverId } of lacking) {
    const said = await open(p, cinder, { volumeId, serverId, attachmentId: HOLD }, { generation: 0, mode: 'rw' });
    if (said.kind === 'refused') {
      p.log.error({ volumeId, serverId }, `a server's volume is not its own in Cinder: ${said.message}`);
    }
  }
}

/** Records of volumes that no server has, and no request has named for a while. */
async function forgetUnused(p: Platform): Promise<void> {
  const unused = await p.stores.global
    .selectFrom('volumes as v')
    .select('v.id')
    .where('v.storage_host', '=', CINDER)
    .where('v.status', '=', 'available')
    .where('v.updated_at', '<', p.clock.now() - GRACE_MS)
    .where(({ not, exists, selectFrom }) =>
      not(exists(selectFrom('volume_attachments as a').select('a.id').whereRef('a.volume_id', '=', 'v.id'))),
    )
    .limit(BATCH)
    .execute();
  for (const { id } of unused) {
    await p.stores.global.transaction().execute(async (trx) => {
      const { numUpdatedRows } = await trx
        .updateTable('volumes')
        .set({ status: 'deleting' })
        .where('id', '=', id)
        .where('status', '=', 'available')
        .executeTakeFirst();
      // Somebody may have claimed it since.
      if (numUpdatedRows > 0n) await deleteVolumeRecord(trx, id);
    });
  }
}

/** The volume's record is as Cinder has it now, but for its status. Null: Cinder has none of that id. */
async function mirror(p: Platform, cinder: Cinder, volumeId: string): Promise<CinderVolume | null> {
  const volume = isUuid(volumeId) ? await cinder.volume(volumeId) : null;
  if (volume === null) return null;
  const now = p.clock.now();
  const image = imageOf(volume.volume_image_metadata);
  const said = {
    ...{ name: volume.name, project_id: volume['os-vol-tenant-attr:tenant_id'], user_id: volume.user_id ?? '' },
    ...{ size_gb: volume.size, multiattach: volume.multiattach ? 1 : 0, bootable: volume.bootable === 'true' ? 1 : 0 },
    ...{
      image_json: image && JSON.stringify(image),
      metadata_json: JSON.stringify(textsOf(volume.metadata)),
      updated_at: now,
    },
  };
  const type = await defaultVolumeType(p);
  await p.stores.global
    .insertInto('volumes')
    .values({
      ...{ ...said, id: volumeId, description: null, status: 'available', storage_host: CINDER, type_id: type.id },
      ...{ zone: p.settings.defaultZone, snapshot_id: null, source_volume_id: null, generation: 0, created_at: now },
    })
    .onConflict((any) => any.column('id').doUpdateSet(said))
    .execute();
  return volume;
}

const textsOf = (texts: Readonly<Record<string, string | null>>): Record<string, string> =>
  Object.fromEntries(Object.entries(texts).flatMap(([key, value]) => (value === null ? [] : [[key, value]])));

/** What Cinder keeps of an image is flat: what has no place of its own is a property. */
function imageOf(metadata: CinderVolume['volume_image_metadata']): VolumeImage | null {
  if (metadata === undefined) return null;
  const { image_id, image_name, checksum, container_format, disk_format, size, min_disk, min_ram, ...properties } =
    metadata;
  if (!image_id) return null;
  const amount = (text: string | null | undefined): number => Math.max(0, Number.parseInt(text ?? '0', 10) || 0);
  return {
    ...{ id: image_id, name: image_name ?? null, checksum: checksum ?? null, diskFormat: disk_format ?? null },
    ...{ containerFormat: container_format ?? null, sizeBytes: amount(size), minDiskGb: amount(min_disk) },
    ...{ minRamMb: amount(min_ram), properties: textsOf(properties) },
  };
}
