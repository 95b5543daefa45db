// What an image that is made of a server is called and says of itself. Pure.
// Source: nova/compute/api.py:_create_image, nova/compute/utils.py:initialize_instance_snapshot_metadata.
import { diskImageOf, shownImageOf } from './disk-image.ts';
import type { Server } from './types.ts';

/** Properties of the base image that its snapshots do not inherit (Nova's non_inheritable_image_properties). */
const NOT_INHERITED: ReadonlySet<string> = new Set([
  ...['cache_in_nova', 'bittorrent'],
  ...['img_signature_hash_method', 'img_signature', 'img_signature_key_type', 'img_signature_certificate_uuid'],
  // What an earlier snapshot said of itself.
  ...['backup_type', 'block_device_mapping', 'bdm_v2', 'root_device_name', 'mappings'],
]);

export type ImageType = 'snapshot' | 'backup';

export interface SnapshotWish {
  readonly type: ImageType;
  /** Who asks. */
  readonly userId: string;
  /** What the caller wants the image to say; it goes before what is inherited. */
  readonly metadata: Readonly<Record<string, string>>;
}

const inheritedBy = (server: Server): (readonly [string, string])[] =>
  Object.entries(server.image.properties).filter(([key]) => !NOT_INHERITED.has(key));

/** A snapshot of a volume of the server, and how the server has that volume. */
export interface MappedSnapshot {
  readonly snapshotId: string;
  readonly sizeGb: number;
  readonly device: string;
  readonly bootIndex: number | null;
  readonly deleteOnTermination: boolean;
}

/**
 * The properties of an image without data, whose servers boot from volumes that are made of these snapshots. A mapping has
 * all the keys that Nova writes (nova/block_device.py:snapshot_from_bdm, get_image_mapping).
 */
export function volumesImageProperties(
  server: Server,
  snapshots: readonly MappedSnapshot[],
  metadata: Readonly<Record<string, string>>,
): Record<string, string> {
  const mapping = snapshots.map((each) => ({
    ...{ source_type: 'snapshot', destination_type: 'volume', snapshot_id: each.snapshotId },
    ...{ volume_size: each.sizeGb, device_name: each.device, boot_index: each.bootIndex },
    ...{ delete_on_termination: each.deleteOnTermination, device_type: 'disk', disk_bus: 'virtio' },
    ...{ guest_format: null, volume_id: null, image_id: null, no_device: null, tag: null, volume_type: null },
    ...{ encrypted: null, encryption_secret_uuid: null, encryption_format: null, encryption_options: null },
  }));
  return Object.fromEntries([
    ...inheritedBy(server),
    ...Object.entries({ base_image_ref: shownImageOf(server.image) ?? '' }),
    ...Object.entries(metadata),
    ...Object.entries({ root_device_name: '/dev/vda', bdm_v2: 'True', block_device_mapping: JSON.stringify(mapping) }),
  ]);
}

/** The properties of an image of the server's root disk. */
export function snapshotProperties(server: Server, wish: SnapshotWish): Record<string, string> {
  const base = server.image.id ?? diskImageOf(server.image);
  return Object.fromEntries([
    ...inheritedBy(server),
    ...(base === null ? [] : [['base_image_ref', base] as const]),
    ...Object.entries({
      image_location: 'snapshot',
      image_state: 'available',
      owner_id: server.projectId,
      instance_uuid: server.id,
      user_id: wish.userId,
      image_type: wish.type,
    }),
    ...Object.entries(wish.metadata),
  ]);
}
