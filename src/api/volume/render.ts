// Volumes and snapshots as the API shows them: which keys at which microversion, and which only to administrators
// (cinder/api/v3/views/volumes.py, snapshots.py).
import type { Platform } from '../../control/platform.ts';
import { type Attachment, attachmentsOfVolumes } from '../../control/volumes/attachments.ts';
import { mappingsInHomes } from '../../control/volumes/devices.ts';
import { volumeTypesById } from '../../control/volumes/types.ts';
import type { RuleName } from '../../model/policy/rules.ts';
import { isoMicroseconds } from '../../model/time.ts';
import { type Actor, isAdmin } from '../../model/types.ts';
import type { Snapshot, Volume, VolumeImage } from '../../model/volumes.ts';
import { linksOf } from './common.ts';

export interface VolumeView {
  readonly p: Platform;
  readonly actor: Actor;
  readonly minor: number;
}

/** How the answer to a create or an update shows a volume, without what belongs to `show` alone. */
export const renderPlain = async (view: VolumeView, volume: Volume): Promise<object> =>
  (await renderAll(view, [volume], false))[0] ?? {};

/** The volumes with everything that the caller may see of them. Four statements, and one per cell of their servers. */
export const renderFull = (view: VolumeView, volumes: readonly Volume[]): Promise<object[]> =>
  renderAll(view, volumes, true);

async function renderAll(view: VolumeView, volumes: readonly Volume[], full: boolean): Promise<object[]> {
  const { p } = view;
  const ids = volumes.map((each) => each.id);
  const attached = await attachmentsOfVolumes(p.stores.global, ids);
  const types = await volumeTypesById(p);
  const shown = new Map(ids.map((id) => [id, visible(attached.get(id) ?? [])]));
  const homes = await mappingsInHomes(
    p,
    [...shown.values()].flatMap((each) => each.map((one) => one.serverId)),
  );
  return volumes.map((volume) => {
    const attachments = (shown.get(volume.id) ?? []).map((each) => ({
      ...{ id: volume.id, attachment_id: each.id, volume_id: volume.id, server_id: each.serverId },
      host_name: isAdmin(view.actor) ? each.host : null,
      device: homes.get(each.serverId)?.find((mapping) => mapping.volumeId === volume.id)?.device ?? null,
      attached_at: each.attachedAt === null ? null : isoMicroseconds(each.attachedAt),
    }));
    const typeName = types.get(volume.typeId)?.name ?? null;
    return { ...plain(view, volume, typeName, attachments), ...(full ? more(view, volume) : {}) };
  });
}

/** One per server: where it is. One that a move holds ready is nobody's business. */
const visible = (attachments: readonly Attachment[]): Attachment[] =>
  attachments.filter((each) => each.active && each.attachedAt !== null);

function plain(
  { p, actor, minor }: VolumeView,
  volume: Volume,
  typeName: string | null,
  attachments: object[],
): object {
  const admin = isAdmin(actor);
  return {
    id: volume.id,
    status: volume.status,
    size: volume.sizeGb,
    availability_zone: volume.zone,
    created_at: isoMicroseconds(volume.createdAt),
    updated_at: isoMicroseconds(volume.updatedAt),
    attachments,
    name: volume.name,
    description: volume.description,
    volume_type: typeName,
    snapshot_id: volume.snapshotId,
    source_volid: volume.sourceVolumeId,
    metadata: volume.metadata,
    links: linksOf(p.settings, volume.projectId, `/volumes/${volume.id}`),
    user_id: volume.userId,
    bootable: String(volume.bootable),
    encrypted: false,
    replication_status: null,
    consistencygroup_id: null,
    multiattach: volume.multiattach,
    ...(admin ? { migration_status: null } : {}),
    ...(minor >= 13 ? { group_id: null } : {}),
    ...(minor >= 21 && admin ? { provider_id: null } : {}),
    ...(minor >= 48 ? { service_uuid: null, shared_targets: minor >= 69 ? null : false } : {}),
    ...(minor >= 61 && admin ? { cluster_name: null } : {}),
    ...(minor >= 63 ? { volume_type_id: volume.typeId } : {}),
    ...(minor >= 65 ? { consumes_quota: true } : {}),
  };
}

function more({ p, actor }: VolumeView, volume: Volume): object {
  const { image, storageHost } = volume;
  const shows = (rule: RuleName): boolean => p.policies.allows('volume', rule, actor);
  return {
    ...(shows('volume_extension:volume_tenant_attribute') ? { 'os-vol-tenant-attr:tenant_id': volume.projectId } : {}),
    ...(shows('volume_extension:volume_host_attribute') ? { 'os-vol-host-attr:host': hostOf(storageHost) } : {}),
    ...(shows('volume_extension:volume_mig_status_attribute')
      ? { 'os-vol-mig-status-attr:migstat': null, 'os-vol-mig-status-attr:name_id': null }
      : {}),
    ...(image === null ? {} : { volume_image_metadata: imageMetadata(image) }),
  };
}

/** host@backend, as Cinder names a service of volumes; host@backend#pool, as it says where a volume is. */
export const backendOf = (storageHost: string): string => `${storageHost}@crosscell`;
export const hostOf = (storageHost: string): string => `${backendOf(storageHost)}#${storageHost}`;

/** What a volume remembers of its image, all as text. */
export const imageMetadata = (image: VolumeImage): Record<string, string> => ({
  // Of a volume that was made of no image, and got its properties by hand, there is no more.
  ...(image.id === ''
    ? {}
    : {
        image_id: image.id,
        image_name: image.name ?? '',
        ...(image.checksum === null ? {} : { checksum: image.checksum }),
        container_format: image.containerFormat ?? '',
        disk_format: image.diskFormat ?? '',
        min_disk: String(image.minDiskGb),
        min_ram: String(image.minRamMb),
        size: String(image.sizeBytes),
      }),
  // What was set by hand counts, whatever it is called.
  ...image.properties,
});

/** `full`: with progress and project, as it is shown and listed in detail. */
export const renderSnapshot = (snapshot: Snapshot, minor: number, full: boolean): object => ({
  id: snapshot.id,
  volume_id: snapshot.volumeId,
  status: snapshot.status,
  size: snapshot.sizeGb,
  name: snapshot.name,
  description: snapshot.description,
  metadata: snapshot.metadata,
  created_at: isoMicroseconds(snapshot.createdAt),
  updated_at: isoMicroseconds(snapshot.updatedAt),
  ...(minor >= 14 ? { group_snapshot_id: null } : {}),
  ...(minor >= 41 ? { user_id: snapshot.userId } : {}),
  ...(minor >= 65 ? { consumes_quota: true } : {}),
  ...(full
    ? {
        'os-extended-snapshot-attributes:progress': snapshot.status === 'available' ? '100%' : '0%',
        'os-extended-snapshot-attributes:project_id': snapshot.projectId,
      }
    : {}),
});
