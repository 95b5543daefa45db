// Sagas on volumes when their storage host fails, is silent, or loses answers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDebts, owe } from '../../src/control/debts.ts';
import { volumeQuotaOf } from '../../src/control/volumes/quota.ts';
import { findVolume } from '../../src/control/volumes/records.ts';
import { resetSnapshotStatus, resetStatus } from '../../src/control/volumes/reset-status.ts';
import { findSnapshot } from '../../src/control/volumes/snapshots.ts';
import { storageHostIsUp } from '../../src/control/volumes/storage-hosts.ts';
import { newId } from '../../src/lib/ids.ts';
import { createVolume } from '../../src/moves/volumes/create.ts';
import { deleteVolume } from '../../src/moves/volumes/delete.ts';
import { extendVolume } from '../../src/moves/volumes/extend.ts';
import { revertVolume } from '../../src/moves/volumes/revert.ts';
import { createSnapshot, deleteSnapshot } from '../../src/moves/volumes/snapshots.ts';
import type { SimStorage } from '../../src/simulation/storage.ts';
import { newVolume, statusOf } from './volumes.ts';
import { accept, assertSound, beat, refuse, settle, type World, withWorld, work } from './world.ts';

const GIB = 2 ** 30;

const storageOf = async (world: World, volumeId: string): Promise<SimStorage> => {
  const volume = await findVolume(world.p.stores.global, volumeId);
  const storage = world.storage.get(volume?.storageHost ?? '');
  assert(storage);
  return storage;
};

const kept = async (storage: SimStorage, volumeId: string) => {
  const reply = await storage.agent.volume(volumeId);
  return reply.kind === 'ok' ? reply.value : null;
};

/** Time passes, heartbeats are asked for, until the storage host counts as down. */
async function untilDown(world: World, storage: SimStorage): Promise<void> {
  storage.trouble = () => 'unreachable';
  for (let round = 0; await storageHostIsUp(world.p, storage.name); round += 1) {
    assert(round < 50);
    await world.clock.pass(5000);
    await beat(world);
  }
}

async function untilUp(world: World, storage: SimStorage): Promise<void> {
  storage.trouble = () => 'none';
  await world.clock.pass(60_000);
  await beat(world);
  await beat(world);
}

const ask = (world: World) =>
  world.clock.drive(
    createVolume(world.p, world.user, {
      ...{ sizeGb: 1, name: null, description: null, metadata: {}, zone: null, type: null },
      source: { kind: 'blank' },
    }),
  );

test('a volume that cannot be made is in error, holds nothing, and can be deleted', () =>
  withWorld(async (world) => {
    for (const storage of world.storage.values()) storage.makeFault = 'no room for it';
    const created = await ask(world);
    assert(created.kind === 'created');
    const { id } = created.volume;
    await settle(world);
    assert.equal(await statusOf(world, id), 'error');
    assert.equal(await kept(await storageOf(world, id), id), null);
    const saga = await world.p.stores.global
      .selectFrom('sagas')
      .selectAll()
      .where('key', '=', id)
      .executeTakeFirstOrThrow();
    assert.equal(saga.status, 'unwound');
    assert.match(saga.reason ?? '', /no room for it/);
    await accept(world, deleteVolume(world.p, world.user, id, { cascade: false, force: false }));
    await settle(world);
    assert.equal(await findVolume(world.p.stores.global, id), null);
    assert.equal((await volumeQuotaOf(world.p, world.user.projectId)).used.volumes, 0);
    await assertSound(world);
  }));

test('answers that are lost are asked for again: each effect happens once', () =>
  withWorld(async (world) => {
    for (const storage of world.storage.values()) {
      const lost = new Set<string>();
      storage.trouble = (method, id) => {
        const call = `${method} ${id}`;
        if (method === 'heartbeat' || lost.has(call)) return 'none';
        lost.add(call);
        return 'lost';
      };
    }
    const id = await newVolume(world);
    await accept(world, extendVolume(world.p, world.user, id, 3, { attached: false }));
    await settle(world);
    const storage = await storageOf(world, id);
    assert.equal((await kept(storage, id))?.sizeBytes, 3 * GIB);
    const made = await world.clock.drive(
      createSnapshot(world.p, world.user, {
        ...{ volumeId: id, name: null, description: null, metadata: {}, force: false },
      }),
    );
    assert(made.kind === 'created');
    await settle(world);
    assert.deepEqual((await kept(storage, id))?.snapshots, [made.snapshot.id]);
    await accept(world, deleteVolume(world.p, world.user, id, { cascade: true, force: false }));
    await settle(world);
    assert.equal(await kept(storage, id), null);
    // The audit asks once.
    for (const each of world.storage.values()) each.trouble = () => 'none';
    await assertSound(world);
  }));

test('a storage host that is down: deletes are owed and paid, growth and snapshots wait or fail', () =>
  withWorld(async (world) => {
    const { p, user } = world;
    const [doomed, grown] = [await newVolume(world), await newVolume(world)];
    const storage = await storageOf(world, doomed);
    assert.equal(await storageOf(world, grown), storage, 'the volumes lie together');
    const snapshot = await world.clock.drive(
      createSnapshot(p, user, { volumeId: grown, name: null, description: null, metadata: {}, force: false }),
    );
    assert(snapshot.kind === 'created');
    await settle(world);
    await untilDown(world, storage);

    await accept(world, deleteVolume(p, user, doomed, { cascade: false, force: false }));
    await work(world, 60_000);
    assert.equal(await findVolume(p.stores.global, doomed), null);
    assert.deepEqual(
      (await openDebts(p))?.map((debt) => [debt.kind, debt.volumeId]),
      [['delete-volume', doomed]],
    );
    assert.notEqual(await kept(storage, doomed), null);

    await accept(world, extendVolume(p, user, grown, 2, { attached: false }));
    await work(world, 60_000);
    assert.equal(await statusOf(world, grown), 'extending');
    const busy = await refuse(world, deleteVolume(p, user, grown, { cascade: true, force: false }));
    assert.equal(busy.code, 400);

    await untilUp(world, storage);
    await settle(world);
    assert.equal(await statusOf(world, grown), 'available');
    assert.equal((await kept(storage, grown))?.sizeBytes, 2 * GIB);
    assert.equal(await kept(storage, doomed), null);
    assert.deepEqual(await openDebts(p), []);
    await accept(world, deleteSnapshot(p, user, snapshot.snapshot));
    await settle(world);
    assert.equal(await findSnapshot(p.stores.global, snapshot.snapshot.id), null);
    await assertSound(world);
  }));

test('two who delete one volume: one wins, and a volume that is being copied stays', () =>
  withWorld(async (world) => {
    const { p, user } = world;
    const id = await newVolume(world);
    const copy = await world.clock.drive(
      createVolume(p, user, {
        ...{ sizeGb: null, name: null, description: null, metadata: {}, zone: null, type: null },
        source: { kind: 'volume', volumeId: id },
      }),
    );
    assert(copy.kind === 'created');
    const del = () => deleteVolume(p, user, id, { cascade: false, force: false });
    assert.equal((await refuse(world, del())).code, 400);
    await settle(world);
    const outcomes = await world.clock.drive(Promise.all([del(), del()]));
    assert.deepEqual(outcomes.map((each) => each?.code ?? 202).toSorted(), [202, 400]);
    await settle(world);
    await assertSound(world);
  }));

test('a volume that somebody has said by hand to be of use is not deleted by a debt', () =>
  withWorld(async (world) => {
    const volumeId = await newVolume(world);
    const storage = await storageOf(world, volumeId);
    const owed = { serverId: newId(), volumeId, generation: 1, sagaId: newId(), reason: 'volume of a deleted server' };
    await world.clock.drive(owe(world.p, { kind: 'delete-volume', host: storage.name, ...owed }));
    await world.clock.pass(20_000);
    await beat(world);
    assert.deepEqual(await openDebts(world.p), []);
    assert.notEqual(await kept(storage, volumeId), null);
    assert.equal(await statusOf(world, volumeId), 'available');
  }));

test('what a saga is at gets no status by hand, and a forced delete that is refused leaves all as it was', () =>
  withWorld(async (world) => {
    const { p, admin, user, clock } = world;
    const volumeId = await newVolume(world);
    const wish = { volumeId, name: null, description: null, metadata: {}, force: false };
    const made = await clock.drive(createSnapshot(p, user, wish));
    assert(made.kind === 'created');
    await settle(world);
    const { snapshot } = made;
    const statuses = async () => [
      await statusOf(world, volumeId),
      (await findSnapshot(p.stores.global, snapshot.id))?.status,
    ];
    const storage = await storageOf(world, volumeId);

    storage.trouble = () => 'unreachable';
    await accept(world, revertVolume(p, user, volumeId, snapshot.id));
    const busy = `Volume ${volumeId} is busy`;
    assert.match((await clock.drive(resetStatus(p, volumeId, 'available')))?.message ?? '', new RegExp(busy));
    assert.match((await clock.drive(resetSnapshotStatus(p, snapshot, 'error')))?.message ?? '', new RegExp(busy));
    const refusal = await refuse(world, deleteSnapshot(p, admin, snapshot, { force: true }));
    assert.match(refusal.message, new RegExp(busy));
    assert.deepEqual(await statuses(), ['reverting', 'restoring']);
    await untilUp(world, storage);
    await settle(world);
    assert.deepEqual(await statuses(), ['available', 'available']);

    assert.equal(await clock.drive(resetSnapshotStatus(p, snapshot, 'restoring')), null);
    await accept(world, deleteSnapshot(p, admin, snapshot, { force: true }));
    await settle(world);
    assert.equal((await statuses())[1], undefined);
    await assertSound(world);
  }));
