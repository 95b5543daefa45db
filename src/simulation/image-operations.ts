// What tenants ask for about images that were made of their servers and volumes: servers from them, and their end.
import { deleteImage } from '../control/images/records.ts';
import { type Image, imageOf } from '../control/images.ts';
import type { Platform } from '../control/platform.ts';
import type { BlockDevice } from '../model/block-devices.ts';
import type { Actor, Refusal } from '../model/types.ts';
import type { CreateRequest } from '../moves/create-server.ts';

/** The project's own image that this number means, with its data or without; undefined: there is none. */
export async function ownImage(p: Platform, { projectId }: Actor, choice: number): Promise<Image | undefined> {
  const rows = await p.stores.global
    .selectFrom('images')
    .selectAll()
    .where('owner', '=', projectId)
    .where('status', '<>', 'deleted')
    .orderBy('id')
    .execute();
  const row = rows[choice % Math.max(1, rows.length)];
  return row && imageOf(row);
}

export async function deleteOwnImage(p: Platform, user: Actor, choice: number): Promise<Refusal | null> {
  const image = await ownImage(p, user, choice);
  return image ? deleteImage(p, user, image.id) : { code: 404, message: 'there is no image of theirs' };
}

/** What a server of the image boots from: a disk of it, or volumes of the snapshots that it names. */
export function disksOfImage({
  id,
  properties,
}: Image): Pick<CreateRequest, 'imageId' | 'namedImageId' | 'blockDevices'> {
  const mapping = properties['block_device_mapping'];
  if (mapping === undefined) return { imageId: id };
  const mapped = JSON.parse(mapping) as readonly {
    readonly snapshot_id: string;
    readonly boot_index: number | null;
    readonly delete_on_termination: boolean;
  }[];
  const devices: BlockDevice[] = mapped.map((each) => ({
    ...{ source: { kind: 'snapshot', snapshotId: each.snapshot_id, sizeGb: null }, bootIndex: each.boot_index },
    ...{ device: null, tag: null, volumeType: null, deleteOnTermination: each.delete_on_termination },
  }));
  return { imageId: null, namedImageId: id, blockDevices: devices };
}
