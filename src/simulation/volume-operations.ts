// What tenants ask for about volumes and snapshots. They look at what their project has, and choose from that.
import type { Platform } from '../control/platform.ts';
import { mappingsInHomes } from '../control/volumes/devices.ts';
import { listVolumes } from '../control/volumes/records.ts';
import { latestSnapshot, listSnapshots } from '../control/volumes/snapshots.ts';
import { assertNever } from '../lib/errors.ts';
import type { BlockDevice } from '../model/block-devices.ts';
import type { Actor, Refusal } from '../model/types.ts';
import type { Volume } from '../model/volumes.ts';
import { attachVolume, detachVolume } from '../moves/attach.ts';
import type { CreateRequest } from '../moves/create-server.ts';
import { createVolume } from '../moves/volumes/create.ts';
import { deleteVolume } from '../moves/volumes/delete.ts';
import { extendVolume } from '../moves/volumes/extend.ts';
import { reimageVolume } from '../moves/volumes/reimage.ts';
import { revertVolume } from '../moves/volumes/revert.ts';
import { createSnapshot, deleteSnapshot } from '../moves/volumes/snapshots.ts';
import { uploadVolume } from '../moves/volumes/upload.ts';
import { disksOfImage, ownImage } from './image-operations.ts';
import type { VolumeOperation } from './plan.ts';
import type { World } from './world.ts';

export interface VolumeRequest {
  readonly operation: VolumeOperation;
  readonly user: Actor;
  /** Of the server that it is about, if it is about one; null: there is none yet. */
  readonly serverId: string | null;
  readonly choice: number;
}

const NOTHING_THERE: Refusal = { code: 404, message: 'there is nothing like that' };

/** The one that this number means; undefined: there is none. */
const chosen = <T>(from: readonly T[], choice: number): T | undefined => from[choice % Math.max(1, from.length)];

export async function operateOnVolume(p: Platform, world: World, request: VolumeRequest): Promise<Refusal | null> {
  const { operation, user, serverId, choice } = request;
  const db = p.stores.global;
  switch (operation) {
    case 'create volume': {
      const created = await createVolume(p, user, await wishOf(p, world, user, choice));
      return created.kind === 'refused' ? created.refusal : null;
    }
    case 'attach': {
      const volume = await volumeToUse(p, user, choice);
      if (serverId === null || !volume) return NOTHING_THERE;
      const how = { device: null, tag: null, deleteOnTermination: choice % 5 === 0, readOnly: choice % 7 === 0 };
      const attached = await attachVolume(p, user, serverId, { volumeId: volume.id, ...how });
      return attached.kind === 'refused' ? attached.refusal : null;
    }
    case 'detach': {
      const mapped = serverId === null ? [] : ((await mappingsInHomes(p, [serverId])).get(serverId) ?? []);
      const mapping = chosen(mapped, choice);
      if (serverId === null || !mapping) return NOTHING_THERE;
      return detachVolume(p, user, serverId, mapping.volumeId);
    }
    case 'delete snapshot': {
      const snapshot = chosen(await listSnapshots(db, { projectId: user.projectId }), choice);
      return snapshot ? deleteSnapshot(p, user, snapshot) : NOTHING_THERE;
    }
    case 'extend volume':
    case 'delete volume':
    case 'upload volume':
    case 'revert volume':
    case 'reimage volume':
    case 'create snapshot': {
      const volume = chosen(await volumesOf(p, user), choice);
      return volume ? changeVolume(p, world, user, { operation, choice }, volume) : NOTHING_THERE;
    }
    default:
      return assertNever(operation);
  }
}

async function changeVolume(
  p: Platform,
  world: World,
  user: Actor,
  request: {
    readonly operation: Exclude<VolumeOperation, 'create volume' | 'attach' | 'detach' | 'delete snapshot'>;
    readonly choice: number;
  },
  { id: volumeId, sizeGb }: Volume,
): Promise<Refusal | null> {
  const { operation, choice } = request;
  switch (operation) {
    case 'extend volume':
      return extendVolume(p, user, volumeId, sizeGb + 1, { attached: true });
    case 'delete volume':
      return deleteVolume(p, user, volumeId, { cascade: sizeGb % 2 === 0, force: choice % 5 === 0 });
    case 'create snapshot': {
      const wish = { volumeId, name: null, description: null, metadata: {}, force: true };
      const created = await createSnapshot(p, user, wish);
      return created.kind === 'refused' ? created.refusal : null;
    }
    case 'revert volume': {
      const latest = await latestSnapshot(p.stores.global, { id: volumeId, projectId: user.projectId });
      return revertVolume(p, user, volumeId, latest?.id ?? null);
    }
    case 'reimage volume':
      return reimageVolume(p, user, volumeId, world.imageId);
    case 'upload volume': {
      const image = { name: `image ${choice}`, format: 'raw', containerFormat: 'bare', visibility: 'private' } as const;
      const uploaded = await uploadVolume(p, user, volumeId, { ...image, protected: false, force: choice % 4 > 0 });
      return uploaded.kind === 'refused' ? uploaded.refusal : null;
    }
    default:
      return assertNever(operation);
  }
}

/** What a new server boots from, and the volumes that it gets. */
export async function disksOf(
  p: Platform,
  world: World,
  user: Actor,
  disks: number,
): Promise<Pick<CreateRequest, 'imageId' | 'namedImageId' | 'blockDevices'>> {
  const { imageId } = world;
  const common = { bootIndex: null, device: null, tag: null, volumeType: null, deleteOnTermination: disks % 3 > 0 };
  const blank: BlockDevice = { ...common, source: { kind: 'blank', sizeGb: 1 } };
  const root: BlockDevice = {
    ...common,
    ...{ source: { kind: 'image', imageId, sizeGb: 1 }, bootIndex: 0 },
  };
  switch (disks % 8) {
    case 0:
      return { imageId: null, blockDevices: [root] };
    case 1:
      return { imageId: null, blockDevices: [root, blank] };
    case 2:
      return { imageId, blockDevices: [blank] };
    case 3: {
      const volume = await volumeToUse(p, user, disks);
      if (!volume) return { imageId };
      return { imageId, blockDevices: [{ ...common, source: { kind: 'volume', volumeId: volume.id } }] };
    }
    case 4: {
      const image = await ownImage(p, user, disks >> 3);
      return image ? disksOfImage(image) : { imageId };
    }
    case 5: {
      const snapshot = chosen(await listSnapshots(p.stores.global, { projectId: user.projectId }), disks >> 3);
      if (!snapshot) return { imageId };
      const source = { kind: 'snapshot', snapshotId: snapshot.id, sizeGb: null } as const;
      return { imageId: null, blockDevices: [{ ...common, source, bootIndex: 0 }] };
    }
    default:
      return { imageId };
  }
}

async function wishOf(
  p: Platform,
  world: World,
  user: Actor,
  choice: number,
): Promise<Parameters<typeof createVolume>[2]> {
  const common = { name: null, description: null, metadata: {}, zone: null, type: null };
  const blank = { ...common, sizeGb: 1, source: { kind: 'blank' }, multiattach: choice % 4 === 0 } as const;
  switch (choice % 6) {
    case 0:
      return { ...common, sizeGb: 1, source: { kind: 'image', imageId: world.imageId } };
    case 1: {
      const volume = chosen(await volumesOf(p, user), choice);
      return volume ? { ...common, sizeGb: null, source: { kind: 'volume', volumeId: volume.id } } : blank;
    }
    case 2: {
      const snapshot = chosen(await listSnapshots(p.stores.global, { projectId: user.projectId }), choice);
      return snapshot ? { ...common, sizeGb: null, source: { kind: 'snapshot', snapshotId: snapshot.id } } : blank;
    }
    case 3: {
      const image = await ownImage(p, user, choice);
      return image ? { ...common, sizeGb: 1, source: { kind: 'image', imageId: image.id } } : blank;
    }
    default:
      return blank;
  }
}

const volumesOf = (p: Platform, { projectId }: Actor): Promise<Volume[]> => listVolumes(p.stores.global, { projectId });

/** One that could be attached; one time in eight any at all. */
async function volumeToUse(p: Platform, user: Actor, choice: number): Promise<Volume | undefined> {
  const all = await volumesOf(p, user);
  const free = all.filter(({ status, multiattach }) => status === 'available' || multiattach);
  return chosen(choice % 8 === 0 || free.length === 0 ? all : free, choice);
}
