// What a host is told to make: the guest's specification, put together from flavor, image and ports.
import { findBaseImage } from '../control/images.ts';
import { guestPortOf, portsOfServer } from '../control/network.ts';
import type { Platform } from '../control/platform.ts';
import type { GuestSpec } from '../host/contract.ts';
import { invariant } from '../lib/errors.ts';
import { rootBytes } from '../model/disk-rules.ts';
import type { Flavor } from '../model/types.ts';

/**
 * Two statements. The image of a server is kept while the server lives, so it is there.
 * @param imageId null: it boots from a volume
 */
export async function guestSpec(
  p: Platform,
  serverId: string,
  imageId: string | null,
  flavor: Flavor,
): Promise<GuestSpec> {
  const ports = await portsOfServer(p.stores.global, serverId);
  return {
    name: serverId,
    vcpus: flavor.vcpus,
    memoryMb: flavor.memoryMb,
    root: imageId === null ? { kind: 'volume' } : await imageRoot(p, serverId, imageId, flavor),
    ports: ports.map(guestPortOf),
  };
}

async function imageRoot(p: Platform, serverId: string, imageId: string, flavor: Flavor): Promise<GuestSpec['root']> {
  const base = await findBaseImage(p, imageId);
  invariant(base, `image ${imageId} of server ${serverId} is gone`);
  return { kind: 'image', image: base, bytes: rootBytes(flavor, base.virtualBytes) };
}
