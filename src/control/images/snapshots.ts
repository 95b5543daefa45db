// Images that are made of servers: their records, and the rotation of backups.
import type { Transaction } from 'kysely';
import { diskImageOf } from '../../model/disk-image.ts';
import {
  type MappedSnapshot,
  type SnapshotWish,
  snapshotProperties,
  volumesImageProperties,
} from '../../model/snapshot-image.ts';
import type { Refusal, Server } from '../../model/types.ts';
import type { GlobalTables } from '../../store/global-schema.ts';
import type { GuestFormat, Image } from '../images.ts';
import type { Platform } from '../platform.ts';
import { recordMirror } from './publisher.ts';
import { discardImages, insertImage } from './records.ts';
import { checkImage, checkNotReserved } from './rules.ts';

/** Nova's formats of snapshots: what a host's driver writes. */
export async function snapshotFormat(p: Platform, host: string): Promise<GuestFormat> {
  const row = await p.stores.global
    .selectFrom('hosts')
    .select('hypervisor_type')
    .where('name', '=', host)
    .executeTakeFirst();
  return row?.hypervisor_type === 'QEMU' ? 'qcow2' : 'raw';
}

/**
 * A queued image for the server's root disk: private, in the project of whoever asks. Refused: 400 and 403 by Glance's rules.
 * @param owner project
 */
export function snapshotImage(
  server: Server,
  wish: SnapshotWish & { readonly id: string; readonly name: string; readonly owner: string; readonly now: number },
  diskFormat: GuestFormat,
): Image | Refusal {
  const { minDiskGb, minRamMb } = server.image;
  const image: Image = {
    ...{ id: wish.id, name: wish.name, status: 'queued', visibility: 'private', owner: wish.owner },
    ...{ diskFormat, containerFormat: 'bare', minRamMb },
    minDiskGb: diskImageOf(server.image) === null ? minDiskGb : Math.max(minDiskGb, server.flavor.rootGb),
    ...{ sizeBytes: null, virtualBytes: null, md5: null, sha256: null, sha512: null },
    ...{ protected: false, hidden: false, properties: snapshotProperties(server, wish), tags: [], members: {} },
    ...{ createdAt: wish.now, updatedAt: wish.now },
  };
  return checkNotReserved(Object.keys(wish.metadata)) ?? checkImage(image) ?? image;
}

/**
 * The same of a server that boots from a volume: an image that will have no data, and says of which snapshots the volumes
 * of its servers are made.
 */
export function volumesImage(
  server: Server,
  snapshots: readonly MappedSnapshot[],
  wish: Pick<SnapshotWish, 'metadata'> & {
    readonly id: string;
    readonly name: string;
    readonly owner: string;
    readonly now: number;
  },
): Image | Refusal {
  const { minDiskGb, minRamMb } = server.image;
  const image: Image = {
    ...{ id: wish.id, name: wish.name, status: 'queued', visibility: 'private', owner: wish.owner },
    ...{ diskFormat: 'qcow2', containerFormat: 'bare', minDiskGb, minRamMb },
    ...{ sizeBytes: null, virtualBytes: null, md5: null, sha256: null, sha512: null },
    properties: volumesImageProperties(server, snapshots, wish.metadata),
    ...{ protected: false, hidden: false, tags: [], members: {}, createdAt: wish.now, updatedAt: wish.now },
  };
  return checkNotReserved(Object.keys(wish.metadata)) ?? checkImage(image) ?? image;
}

/** Writes it down. With a Glance it has been announced there, and Glance has counted it. */
export async function recordSnapshot(
  p: Platform,
  trx: Transaction<GlobalTables>,
  image: Image,
): Promise<Refusal | null> {
  if (p.imageMirror) {
    await recordMirror(trx, image, p.clock.now());
    return null;
  }
  const result = await insertImage(trx, image);
  return result.kind === 'refused' ? result.refusal : null;
}

/** Of the server's backups of that kind only the `keep` youngest are left. Protected ones stay, and count. */
export async function rotateBackups(
  trx: Transaction<GlobalTables>,
  server: { readonly id: string; readonly owner: string },
  backupType: string,
  keep: number,
  now: number,
): Promise<void> {
  const rows = await trx
    .selectFrom('images')
    .select(['id', 'protected', 'properties_json'])
    .where('owner', '=', server.owner)
    .where('status', '=', 'active')
    .orderBy('created_at', 'desc')
    .orderBy('id')
    .execute();
  const backups = rows.filter((row) => {
    const properties = JSON.parse(row.properties_json) as Readonly<Record<string, string>>;
    return (
      properties['image_type'] === 'backup' &&
      properties['backup_type'] === backupType &&
      properties['instance_uuid'] === server.id
    );
  });
  const old = backups.slice(keep).filter((row) => row.protected === 0);
  await discardImages(
    trx,
    old.map((row) => row.id),
    now,
  );
}
