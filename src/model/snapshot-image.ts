// What an image that is made of a server is called and says of itself. Pure.
// Source: nova/compute/api.py:_create_image, nova/compute/utils.py:initialize_instance_snapshot_metadata.
import { diskImageOf } from './disk-image.ts';
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

/** The properties of an image of the server's root disk. */
export function snapshotProperties(server: Server, wish: SnapshotWish): Record<string, string> {
  const inherited = Object.entries(server.image.properties).filter(([key]) => !NOT_INHERITED.has(key));
  const base = server.image.id ?? diskImageOf(server.image);
  return Object.fromEntries([
    ...inherited,
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
