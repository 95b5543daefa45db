// Storage hosts that never return: an operator forgets them, what waited for them ends, and servers go on without.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDebts } from '../../src/control/debts.ts';
import { updateService } from '../../src/control/hosts.ts';
import { volumeQuotaOf } from '../../src/control/volumes/quota.ts';
import { findVolume } from '../../src/control/volumes/records.ts';
import { listSnapshots } from '../../src/control/volumes/snapshots.ts';
import { listStorageHosts, registerStorageHost } from '../../src/control/volumes/storage-hosts.ts';
import { forgetStorageHost } from '../../src/control/volumes/storage-removal.ts';
import { detachVolume } from '../../src/moves/attach.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { evacuateServer } from '../../src/moves/evacuate.ts';
import { startServer, stopServer } from '../../src/moves/power.ts';
import { migrateServer } from '../../src/moves/resize.ts';
import { deleteVolume } from '../../src/moves/volumes/delete.ts';
import { createSnapshot, deleteSnapshot } from '../../src/moves/volumes/snapshots.ts';
import { attach, newVolume, statusOf, volumeBackedServer } from './volumes.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  hostOf,
  newServer,
  refuse,
  runningOn,
  serverOf,
  settle,
  type World,
  withWorld,
  work,
} from './world.ts';

const storageOf = async (world: World, volumeId: string): Promise<string> =>
  (await findVolume(world.p.stores.global, volumeId))?.storageHost ?? '';

/** The machine is gone, and long enough for everybody to know. */
async function die(world: World, ...names: readonly string[]): Promise<void> {
  for (const name of names) world.storage.get(name)?.crash();
  for (let round = 0; round < 8; round += 1) {
    await world.clock.pass(5_000);
    await beat(world);
  }
}

const forget = (world: World, name: string) => forgetStorageHost(world.p, world.admin, name);

const refusalOf = async (world: World, name: string) => {
  const answer = await forget(world, name);
  return answer.kind === 'refused' ? answer.refusal.code : null;
};

/** Nothing is owed any more, nothing under way, and the audit finds nothing. */
async function assertOver(world: World): Promise<void> {
  await world.clock.pass(11_000);
  await beat(world);
  await settle(world);
  assert.deepEqual(await openDebts(world.p), []);
  await assertSound(world);
}

const snapshotOfVolume = async (world: World, volumeId: string) => {
  const wish = { volumeId, name: null, description: null, metadata: {}, force: true };
  const made = await world.clock.drive(createSnapshot(world.p, world.user, wish));
  assert(made.kind === 'created');
  await settle(world);
  return made.snapshot;
};

test('a storage host that is gone for good is forgotten: what was deleted is gone, the rest in error, nothing is owed', () =>
  withWorld(async (world) => {
    const { p } = world;
    const [serverId, other] = [await newServer(world), await newServer(world)];
    // The first goes where most room is, and so do the others.
    const volumes = [await newVolume(world), await newVolume(world), await newVolume(world), await newVolume(world)];
    const [deleted = '', detached = '', kept = '', free = ''] = volumes;
    const name = await storageOf(world, deleted);
    assert.deepEqual(new Set(await Promise.all(volumes.map((id) => storageOf(world, id)))), new Set([name]));
    await attach(world, serverId, detached);
    await attach(world, serverId, kept);
    await attach(world, other, deleted, false);
    const going = await snapshotOfVolume(world, free);
    const left = await snapshotOfVolume(world, free);
    assert.equal(await refusalOf(world, name), 409);
    assert.equal(await refusalOf(world, 'nowhere'), 404);

    await die(world, name);
    await accept(world, deleteServer(p, world.user, other));
    await accept(world, detachVolume(p, world.user, serverId, detached));
    await accept(world, deleteSnapshot(p, world.user, going));
    // The snapshot's end waits for it.
    assert.equal(await work(world, 120_000), false);
    assert.deepEqual([await statusOf(world, detached), await statusOf(world, deleted)], ['detaching', 'deleting']);
    assert.equal((await volumeQuotaOf(p, world.user.projectId)).used.volumes, volumes.length);

    const answer = await forget(world, name);
    assert.equal(answer.kind === 'removed' && answer.left.debts > 0, true);
    await settle(world);
    await assertOver(world);
    assert.deepEqual(await Promise.all(volumes.map((id) => statusOf(world, id))), [null, 'error', 'error', 'error']);
    const snapshots = await listSnapshots(p.stores.global, { projectId: null, volumeId: free });
    assert.deepEqual(
      snapshots.map((each) => [each.id, each.status]),
      [[left.id, 'error']],
    );
    assert.equal((await volumeQuotaOf(p, world.user.projectId)).used.volumes, volumes.length - 1);
    assert.equal(await refusalOf(world, name), 404);
    assert.ok(!(await listStorageHosts(p)).some((each) => each.name === name));

    // Nothing of it is in anybody's way.
    await accept(world, detachVolume(p, world.user, serverId, kept));
    await settle(world);
    assert.equal(await statusOf(world, kept), 'error');
    for (const id of [detached, kept, free]) {
      await accept(world, deleteVolume(p, world.user, id, { cascade: true, force: false }));
    }
    await accept(world, deleteServer(p, world.user, serverId));
    await settle(world);
    assert.equal((await volumeQuotaOf(p, world.user.projectId)).used.volumes, 0);
    await assertOver(world);
  }));

test('a server that has lost a data volume is evacuated, migrated, and started without it', () =>
  withWorld(async (world) => {
    const { p } = world;
    const serverId = await newServer(world, FLAVORS.plain);
    const volume = await newVolume(world);
    await attach(world, serverId, volume);
    const name = await storageOf(world, volume);
    const source = (await serverOf(world, serverId)).host ?? '';
    // Both machines, at once.
    await hostOf(world, source).reboot();
    hostOf(world, source).down();
    await die(world, name);
    await accept(world, updateService(p, source, { forcedDown: true }));
    const move = () => evacuateServer(p, world.admin, serverId, { host: null, staysOff: false });
    await accept(world, move());
    await settle(world);
    assert.deepEqual(runningOn(world, serverId), []);

    assert.equal((await forget(world, name)).kind, 'removed');
    await accept(world, move());
    await settle(world);
    const there = await serverOf(world, serverId);
    assert.notEqual(there.host, source);
    assert.deepEqual([there.vmState, runningOn(world, serverId)], ['active', [there.host]]);
    await accept(world, migrateServer(p, world.admin, serverId, { host: null }));
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'resized');
    await accept(world, detachVolume(p, world.user, serverId, volume));
    await settle(world);
    assert.equal(await statusOf(world, volume), 'error');
  }));

test('a server whose root volume is lost goes nowhere; it can be stopped and deleted', () =>
  withWorld(async (world) => {
    const { p } = world;
    const { serverId, volumes } = await volumeBackedServer(world, FLAVORS.plain);
    const names = [...world.storage.keys()];
    await die(world, ...names);
    for (const name of names) assert.equal((await forget(world, name)).kind, 'removed');
    await accept(world, migrateServer(p, world.admin, serverId, { host: null }));
    await settle(world);
    const { vmState, host } = await serverOf(world, serverId);
    assert.deepEqual([vmState, runningOn(world, serverId)], ['active', [host]]);
    await accept(world, stopServer(p, world.user, serverId));
    await settle(world);
    await accept(world, startServer(p, world.user, serverId));
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'stopped');
    assert.equal((await refuse(world, detachVolume(p, world.user, serverId, volumes[0] ?? ''))).code, 400);
    await accept(world, deleteServer(p, world.user, serverId));
    await settle(world);
    await assertOver(world);
    assert.ok(!(await Promise.all(volumes.map((id) => statusOf(world, id)))).includes('in-use'));
  }));

test('one that is registered anew is asked again', () =>
  withWorld(async (world) => {
    const volume = await newVolume(world);
    const name = await storageOf(world, volume);
    await die(world, name);
    assert.equal((await forget(world, name)).kind, 'removed');
    await world.storage.get(name)?.boot();
    world.storage.get(name)?.up();
    const description = { name, driver: 'simulated', totalBytes: 1024 ** 4, freeBytes: 1024 ** 4 };
    await registerStorageHost(world.p, { name, url: 'http://there', description });
    await beat(world);
    assert.equal(await refusalOf(world, name), 409);
    assert.equal(await statusOf(world, volume), 'error');
    await assertSound(world);
  }));
