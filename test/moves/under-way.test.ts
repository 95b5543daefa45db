// What is taken back, or deleted, while the storage host is still at work on the same volume: that comes first.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findImage } from '../../src/control/images.ts';
import { listSnapshots } from '../../src/control/volumes/snapshots.ts';
import { createServerImage } from '../../src/moves/create-image.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { rebuildServer } from '../../src/moves/rebuild-server.ts';
import { createVolume } from '../../src/moves/volumes/create.ts';
import type { StorageDriver } from '../../src/storage/driver.ts';
import { sqlSagaStore } from '../../src/store/sagas.ts';
import { mappedTo, statusOf, volumeBackedServer } from './volumes.ts';
import { accept, activeSagas, assertSound, serverOf, settle, Worker, type World, withWorld, work } from './world.ts';

/** Longer than a refused step is tried again. */
const LONG_MS = 150_000;

/** Storage hosts take long to make volumes. */
function slow(world: World): void {
  for (const storage of world.storage.values()) {
    const driver: StorageDriver = storage.driver;
    const make = driver.make.bind(driver);
    driver.make = async (...args) => {
      await world.clock.sleep(LONG_MS);
      await make(...args);
    };
  }
}

/** Until the storage host has been asked, and is at it. */
async function untilAtIt(world: World): Promise<void> {
  const worker = new Worker(world);
  for (let round = 0; (await activeSagas(world)).every(({ wakeAt }) => wakeAt === 0); round += 1) {
    assert(round < 1000);
    await worker.step();
  }
}

const cancel = (world: World, key: string) =>
  world.clock.drive(sqlSagaStore(world.p.stores.global, world.clock).requestCancel(key));

async function snapshotsKept(world: World): Promise<readonly string[]> {
  const records = await Promise.all([...world.storage.values()].map((each) => each.records.volumes.load()));
  return records.flat().flatMap(({ volume }) => volume?.snapshots ?? []);
}

/** Somebody is making a volume from the server's root volume, for minutes. @returns the ids of both */
async function copyOfRoot(world: World, serverId: string): Promise<{ readonly root: string; readonly copy: string }> {
  const [root = ''] = await mappedTo(world, serverId);
  slow(world);
  const made = await world.clock.drive(
    createVolume(world.p, world.user, {
      ...{ sizeGb: null, name: null, description: null, metadata: {}, zone: null, type: null },
      source: { kind: 'volume', volumeId: root },
    }),
  );
  assert(made.kind === 'created', JSON.stringify(made));
  await untilAtIt(world);
  return { root, copy: made.volume.id };
}

test('an image of volumes that turns back while one of them is copied leaves no snapshot', () =>
  withWorld(async (world) => {
    const { serverId } = await volumeBackedServer(world);
    await copyOfRoot(world, serverId);
    const made = await world.clock.drive(createServerImage(world.p, world.user, serverId, { name: 'i', metadata: {} }));
    assert(made.kind === 'made');
    const worker = new Worker(world);
    while ((await snapshotsKept(world)).length === 0) if ((await worker.step()) === 'idle') await world.clock.pass(100);
    await cancel(world, serverId);
    await work(world, 60_000);
    const statuses = async () =>
      (await listSnapshots(world.p.stores.global, { projectId: null })).map(({ status }) => status);
    assert.deepEqual([...new Set(await statuses())], ['deleting'], 'the snapshots wait');
    assert.equal((await serverOf(world, serverId)).taskState, null, 'the server does not');
    await settle(world);
    assert.deepEqual([await statuses(), await snapshotsKept(world)], [[], []]);
    assert.equal(await findImage(world.p, made.imageId), null);
    await assertSound(world);
  }));

test('a root volume that is copied is rebuilt when that is over', () =>
  withWorld(async (world) => {
    const { serverId } = await volumeBackedServer(world);
    const { root } = await copyOfRoot(world, serverId);
    const wish = { imageId: world.imageId, name: 'anew', reimages: true };
    await accept(world, rebuildServer(world.p, world.user, serverId, wish));
    await settle(world);
    const { name, vmState } = await serverOf(world, serverId);
    assert.deepEqual([name, vmState, await statusOf(world, root)], ['anew', 'active', 'in-use']);
    assert.deepEqual(await snapshotsKept(world), []);
    await assertSound(world);
  }));

test('a server deleted while its root volume is copied takes it with it when that is over', () =>
  withWorld(async (world) => {
    const { serverId } = await volumeBackedServer(world);
    const { root, copy } = await copyOfRoot(world, serverId);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await work(world, 60_000);
    assert.equal(await statusOf(world, root), 'deleting');
    await settle(world);
    assert.deepEqual([await statusOf(world, root), await statusOf(world, copy)], [null, 'available']);
    await assertSound(world);
  }));
