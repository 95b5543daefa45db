// What a host is told to make: the guest's specification, put together from flavor, image and ports.
import { findBaseImage } from '../control/images.ts';
import { guestPortOf, portsOfServer } from '../control/network.ts';
import type { Platform } from '../control/platform.ts';
import { serverOf } from '../control/records.ts';
import type { GuestSpec } from '../host/contract.ts';
import { invariant } from '../lib/errors.ts';
import { configDriveFiles, type DriveFile } from '../model/config-drive.ts';
import { rootBytes } from '../model/disk-rules.ts';
import type { Flavor, Server } from '../model/types.ts';

/** The files of the server's config drive; null: it has none. */
export const driveOf = ({ configDrive, userData }: Pick<Server, 'configDrive' | 'userData'>): DriveFile[] | null =>
  configDrive === null ? null : configDriveFiles(configDrive, userData);

/** The same, read from the server's record in its home: it may be too much to carry along in a saga's state. */
export async function recordedDrive(p: Platform, cellId: string, serverId: string): Promise<DriveFile[] | null> {
  const cell = await p.stores.cell(cellId);
  const row = await cell.selectFrom('servers').selectAll().where('id', '=', serverId).executeTakeFirst();
  invariant(row, `the record of server ${serverId} is in its home until it is carried over`);
  return driveOf(serverOf(row));
}

/**
 * Two statements. The image of a server is kept while the server lives, so it is there.
 * @param imageId null: it boots from a volume
 */
export async function guestSpec(
  p: Platform,
  serverId: string,
  imageId: string | null,
  flavor: Flavor,
  drive: DriveFile[] | null,
): Promise<GuestSpec> {
  const ports = await portsOfServer(p.stores.global, serverId);
  return {
    name: serverId,
    vcpus: flavor.vcpus,
    memoryMb: flavor.memoryMb,
    root: imageId === null ? { kind: 'volume' } : await imageRoot(p, serverId, imageId, flavor),
    ports: ports.map(guestPortOf),
    ...(drive === null ? {} : { configDrive: drive }),
  };
}

async function imageRoot(p: Platform, serverId: string, imageId: string, flavor: Flavor): Promise<GuestSpec['root']> {
  const base = await findBaseImage(p, imageId);
  invariant(base, `image ${imageId} of server ${serverId} is gone`);
  return { kind: 'image', image: base, bytes: rootBytes(flavor, base.virtualBytes) };
}
