// How each saga on a volume is brought about; see fixtures.ts. There is one volume, and where the saga is about one, one
// snapshot of it. What there is of it afterwards includes whether the storage host keeps it: what could not be made, and
// is recorded in error, holds nothing.
import assert from 'node:assert/strict';
import { findBaseImage } from '../../../src/control/images.ts';
import { findVolume } from '../../../src/control/volumes/records.ts';
import { listSnapshots } from '../../../src/control/volumes/snapshots.ts';
import type { Refusal } from '../../../src/model/types.ts';
import { createVolume } from '../../../src/moves/volumes/create.ts';
import { deleteVolume } from '../../../src/moves/volumes/delete.ts';
import { extendVolume } from '../../../src/moves/volumes/extend.ts';
import { reimageVolume } from '../../../src/moves/volumes/reimage.ts';
import { revertVolume } from '../../../src/moves/volumes/revert.ts';
import { createSnapshot, deleteSnapshot } from '../../../src/moves/volumes/snapshots.ts';
import { uploadVolume } from '../../../src/moves/volumes/upload.ts';
import { newVolume } from '../volumes.ts';
import { settle, type World } from '../world.ts';
import type { Fixture, Started } from './fixtures.ts';

export const onlyVolume = (world: World): Promise<{ id: string }> =>
  world.p.stores.global.selectFrom('volumes').select('id').executeTakeFirstOrThrow();

const kept = async (world: World, volumeId: string): Promise<readonly string[] | null> => {
  for (const storage of world.storage.values()) {
    for (const { id, volume } of await storage.records.volumes.load()) {
      if (id === volumeId && volume !== null) return volume.snapshots;
    }
  }
  return null;
};

const volumeStatus = async (world: World, volumeId: string): Promise<string | null> => {
  const volume = await findVolume(world.p.stores.global, volumeId);
  const isKept = (await kept(world, volumeId)) !== null;
  if (volume === null) return isKept ? 'left behind' : null;
  return `${volume.status}${isKept ? ', kept' : ''}, ${volume.sizeGb} GiB`;
};

const snapshotStatus = async (world: World, volumeId: string): Promise<string | null> => {
  const row = await world.p.stores.global.selectFrom('volume_snapshots').select(['id', 'status']).executeTakeFirst();
  const ids = (await kept(world, volumeId)) ?? [];
  if (!row) return ids.length > 0 ? 'left behind' : null;
  return `${row.status}${ids.includes(row.id) ? ', kept' : ''}`;
};

const start =
  (call: (world: World, volumeId: string) => Promise<Refusal | null>) =>
  async (world: World, volumeId: string): Promise<Started> => ({
    serverId: volumeId,
    refusal: await world.clock.drive(call(world, volumeId)),
  });

const takeSnapshot = async (world: World, volumeId: string): Promise<Refusal | null> => {
  const wish = { volumeId, name: null, description: null, metadata: {}, force: false };
  const created = await createSnapshot(world.p, world.user, wish);
  return created.kind === 'created' ? null : created.refusal;
};

const withSnapshot = async (world: World): Promise<string> => {
  const volumeId = await newVolume(world);
  assert.equal(await world.clock.drive(takeSnapshot(world, volumeId)), null);
  await settle(world);
  assert.equal(await snapshotStatus(world, volumeId), 'available, kept');
  return volumeId;
};

/** A volume with a snapshot that has been written anew since. */
const writtenSince = async (world: World): Promise<string> => {
  const volumeId = await withSnapshot(world);
  const image = await findBaseImage(world.p, world.imageId);
  assert(image);
  for (const { driver } of world.storage.values()) {
    if (driver.words(volumeId) !== null) await driver.rewrite(volumeId, { kind: 'image', image });
  }
  return volumeId;
};

const reimageStatus = async (world: World, volumeId: string): Promise<string> => {
  const volume = await findVolume(world.p.stores.global, volumeId);
  const words = [...world.storage.values()].flatMap(({ driver }) => driver.words(volumeId) ?? []);
  const holds = words.some((word) => word.includes('of image')) ? 'the image' : 'what it did';
  const snapshots = ((await kept(world, volumeId)) ?? []).length;
  const remembers = volume?.image ? 'an image' : 'none';
  return `${await volumeStatus(world, volumeId)}, ${snapshots} snapshots, holds ${holds}, remembers ${remembers}`;
};

const revertStatus = async (world: World, volumeId: string): Promise<string> => {
  const words = [...world.storage.values()].flatMap(({ driver }) => driver.words(volumeId) ?? []);
  const holds = words.some((word) => word.includes('of image')) ? 'what was written since' : 'what was kept';
  const snapshots = ((await kept(world, volumeId)) ?? []).length;
  const both = `${await volumeStatus(world, volumeId)}, snapshot ${await snapshotStatus(world, volumeId)}`;
  return `${both}, ${snapshots} in all, ${holds}`;
};

const latestOf = async (world: World, volumeId: string) => {
  const [snapshot] = await listSnapshots(world.p.stores.global, { projectId: null, volumeId });
  assert(snapshot);
  return snapshot;
};

const upload = async (world: World, volumeId: string): Promise<Refusal | null> => {
  const wish = { name: 'of a volume', format: 'raw', containerFormat: 'bare', visibility: 'private' } as const;
  const uploaded = await uploadVolume(world.p, world.user, volumeId, { ...wish, protected: false, force: false });
  return uploaded.kind === 'uploading' ? null : uploaded.refusal;
};

const uploadStatus = async (world: World, volumeId: string): Promise<string | null> => {
  const images = world.p.stores.global.selectFrom('images').select('status').where('name', '=', 'of a volume');
  const [image] = await images.execute();
  return `${await volumeStatus(world, volumeId)}, image ${image?.status ?? 'none'}`;
};

const common = { crosses: false, storage: 'alone', action: null } as const;

export const ON_VOLUMES: readonly Fixture[] = [
  {
    ...{ ...common, move: 'create volume', after: 'available, kept, 1 GiB', unwound: () => 'error, 1 GiB' },
    status: volumeStatus,
    prepare: async () => '',
    start: async (world) => {
      const created = await world.clock.drive(
        createVolume(world.p, world.user, {
          ...{ sizeGb: 1, name: null, description: null, metadata: {}, zone: null, type: null },
          source: { kind: 'blank' },
        }),
      );
      assert(created.kind === 'created');
      return { serverId: created.volume.id, refusal: null };
    },
  },
  {
    ...{ ...common, move: 'delete volume', after: null, unwound: () => 'error_deleting, kept, 1 GiB' },
    status: volumeStatus,
    prepare: newVolume,
    start: start((world, id) => deleteVolume(world.p, world.user, id, { cascade: false, force: false })),
  },
  {
    ...{ ...common, move: 'extend volume', after: 'available, kept, 2 GiB', unwound: () => 'as before' },
    status: volumeStatus,
    prepare: newVolume,
    start: start((world, id) => extendVolume(world.p, world.user, id, 2, { attached: false })),
  },
  {
    ...{ ...common, move: 'upload volume', after: 'available, kept, 1 GiB, image active', unwound: () => 'as before' },
    ...{ status: uploadStatus, imageStays: true },
    prepare: newVolume,
    start: start(upload),
  },
  {
    ...{ ...common, move: 'create snapshot', after: 'available, kept', unwound: () => 'error' },
    status: snapshotStatus,
    prepare: newVolume,
    start: start(takeSnapshot),
  },
  {
    ...{ ...common, move: 'delete snapshot', after: null, unwound: () => 'error_deleting, kept' },
    status: snapshotStatus,
    prepare: withSnapshot,
    start: start(async (world, id) => deleteSnapshot(world.p, world.user, await latestOf(world, id))),
  },
  {
    ...{ ...common, move: 'revert volume', unwound: () => 'as before', status: revertStatus },
    after: 'available, kept, 1 GiB, snapshot available, kept, 1 in all, what was kept',
    prepare: writtenSince,
    start: start(async (world, id) => revertVolume(world.p, world.user, id, (await latestOf(world, id)).id)),
  },
  {
    ...{ ...common, move: 'reimage volume', unwound: () => 'as before', status: reimageStatus },
    after: 'available, kept, 1 GiB, 0 snapshots, holds the image, remembers an image',
    prepare: newVolume,
    start: start((world, id) => reimageVolume(world.p, world.user, id, world.imageId)),
  },
];
