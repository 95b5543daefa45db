import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId } from '../../lib/ids.ts';
import type { Actor } from '../../model/types.ts';
import { DEFAULT_VOLUME_LIMITS } from '../../model/volume-quota.ts';
import type { Volume } from '../../model/volumes.ts';
import type { Platform } from '../platform.ts';
import { addStorageHost, withPlatform } from '../test-support.ts';
import { everyOne } from './newest.ts';
import { claimVolumeQuota, forgetVolumeQuota, setVolumeQuota, volumeQuotaOf } from './quota.ts';
import {
  changeStatus,
  createVolumeRecord,
  deleteVolumeRecord,
  editVolume,
  findVolume,
  listVolumes,
  volumeFor,
  volumesFrom,
} from './records.ts';
import { createSnapshotRecord, editSnapshot, listSnapshots, snapshotFor } from './snapshots.ts';
import { chooseStorageHost, recordStorageHeartbeat, setStorageHostDisabled, storageHostIsUp } from './storage-hosts.ts';
import {
  createVolumeType,
  defaultVolumeType,
  deleteVolumeType,
  findVolumeType,
  isMultiattach,
  listVolumeTypes,
  updateVolumeType,
} from './types.ts';

const USER: Actor = { userId: 'u1', projectId: 'p1', roles: ['member'], requestId: 'r' };
const OTHER: Actor = { ...USER, projectId: 'p2' };
const ADMIN: Actor = { ...OTHER, roles: ['admin'] };

async function addVolume(p: Platform, change: Partial<Volume> = {}): Promise<Volume> {
  const type = await defaultVolumeType(p);
  const volume: Volume = {
    ...{ id: newId(), name: 'one', description: null, projectId: 'p1', userId: 'u1', sizeGb: 5, status: 'available' },
    ...{ storageHost: 'storage1', typeId: type.id, zone: 'nova', multiattach: false, bootable: false },
    ...{ snapshotId: null, sourceVolumeId: null, image: null, metadata: {}, generation: 1 },
    ...{ createdAt: p.clock.now(), updatedAt: p.clock.now() },
    ...change,
  };
  await createVolumeRecord(p.stores.global, volume);
  return volume;
}

test('a storage host is chosen by health and room', async () => {
  await withPlatform(async (p) => {
    const wish = { sizeGb: 10, extraSpecs: {} };
    assert.equal((await chooseStorageHost(p, wish)).kind, 'refused');
    await addStorageHost(p, 'a');
    await addStorageHost(p, 'b');
    const heartbeat = { agentId: 'x', now: 0, freeBytes: 20 * 2 ** 30, volumes: [], remains: [] };
    await recordStorageHeartbeat(p, 'a', heartbeat);
    assert.deepEqual(await chooseStorageHost(p, wish), { kind: 'chosen', name: 'b' });
    const named = { ...wish, extraSpecs: { volume_backend_name: 'a' } };
    assert.deepEqual(await chooseStorageHost(p, named), { kind: 'chosen', name: 'a' });
    assert.equal((await chooseStorageHost(p, { ...named, sizeGb: 21 })).kind, 'refused');
    assert.equal(await setStorageHostDisabled(p, 'b', true), null);
    assert.deepEqual(await chooseStorageHost(p, wish), { kind: 'chosen', name: 'a' });
    await p.clock.pass(31_000);
    assert.equal(await storageHostIsUp(p, 'a'), false);
    assert.equal((await chooseStorageHost(p, wish)).kind, 'refused');
    assert.equal((await setStorageHostDisabled(p, 'c', true))?.code, 404);
  });
});

test('types: the default is there, names are unique, used ones stay', async () => {
  await withPlatform(async (p) => {
    await addStorageHost(p);
    const standard = await defaultVolumeType(p);
    assert.deepEqual(await defaultVolumeType(p), standard);
    const wish = { name: 'many', description: null, isPublic: true, extraSpecs: { multiattach: '<is> True' } };
    const made = await createVolumeType(p, wish);
    assert(made.kind === 'ok');
    assert.equal(isMultiattach(made.type), true);
    assert.equal(isMultiattach(standard), false);
    const again = await createVolumeType(p, wish);
    assert(again.kind === 'refused');
    assert.equal(again.refusal.code, 409);
    assert.equal((await findVolumeType(p, USER, 'many'))?.id, made.type.id);
    const hidden = await updateVolumeType(p, made.type.id, { isPublic: false, extraSpecs: () => ({}) });
    assert(hidden.kind === 'ok');
    assert.equal(isMultiattach(hidden.type), false);
    assert.equal(await findVolumeType(p, USER, 'many'), null);
    assert.deepEqual((await listVolumeTypes(p, USER)).length, 1);
    assert.deepEqual((await listVolumeTypes(p, ADMIN)).length, 2);
    await addVolume(p, { typeId: made.type.id });
    assert.match((await deleteVolumeType(p, made.type.id))?.message ?? '', /still in use/);
    assert.match((await deleteVolumeType(p, standard.id))?.message ?? '', /default volume type/);
    assert.equal((await deleteVolumeType(p, newId()))?.code, 404);
  });
});

test('records: seen by their project, changed by compare-and-set, gone with what hangs on them', async () => {
  await withPlatform(async (p) => {
    await addStorageHost(p);
    const db = p.stores.global;
    const volume = await addVolume(p, { metadata: { a: '1' } });
    await addVolume(p, { projectId: 'p2', name: 'two' });
    assert.deepEqual(await volumeFor(db, USER, volume.id), volume);
    assert.deepEqual(await volumeFor(db, ADMIN, volume.id), volume);
    assert.deepEqual(await volumeFor(db, OTHER, volume.id), {
      code: 404,
      message: `Volume ${volume.id} could not be found.`,
    });
    assert.deepEqual(await listVolumes(db, { projectId: 'p1', metadata: { a: '1' } }), [volume]);
    assert.deepEqual(await listVolumes(db, { projectId: 'p1', metadata: { a: '2' } }), []);
    assert.deepEqual(await listVolumes(db, { projectId: null, ids: [] }), []);
    assert.equal((await listVolumes(db, { projectId: null })).length, 2);
    assert.equal(await changeStatus(db, volume.id, ['in-use'], { status: 'error' }), false);
    assert.equal(await changeStatus(db, volume.id, ['available'], { status: 'extending' }), true);
    const edited = await editVolume(db, volume.id, { name: null, metadata: (now) => ({ ...now, b: '2' }) }, 9);
    assert.deepEqual(edited?.metadata, { a: '1', b: '2' });
    assert.equal((await findVolume(db, volume.id))?.name, null);
    const snapshot = {
      ...{ id: newId(), volumeId: volume.id, name: null, description: null, projectId: 'p1', userId: 'u1' },
      ...{ sizeGb: 5, status: 'available' as const, metadata: {}, createdAt: 1, updatedAt: 1 },
    };
    await createSnapshotRecord(db, snapshot);
    assert.deepEqual(await listSnapshots(db, { projectId: 'p1', volumeId: volume.id }), [snapshot]);
    assert.equal((await editSnapshot(db, snapshot.id, { name: 'x' }, 2))?.name, 'x');
    assert.equal('code' in (await snapshotFor(db, OTHER, snapshot.id)), true);
    await deleteVolumeRecord(db, volume.id);
    await deleteVolumeRecord(db, volume.id);
    assert.equal(await findVolume(db, volume.id), null);
    assert.equal('code' in (await snapshotFor(db, USER, snapshot.id)), true);
  });
});

test('quota: volumes and gigabytes, snapshots with them; own limits before the settings', async () => {
  await withPlatform(
    async (p) => {
      await addStorageHost(p);
      await addVolume(p, { sizeGb: 7 });
      await addVolume(p, { projectId: 'p2', sizeGb: 100 });
      const { limits, used } = await volumeQuotaOf(p, 'p1');
      assert.deepEqual(limits, { ...DEFAULT_VOLUME_LIMITS, volumes: 3 });
      assert.deepEqual(used, { volumes: 1, snapshots: 0, gigabytes: 7 });
      const claim = (volumes: number, gigabytes: number) =>
        p.stores.global
          .transaction()
          .execute((trx) => claimVolumeQuota(p, trx, 'p1', { volumes, gigabytes, snapshots: 0 }));
      assert.equal(await claim(2, 993), null);
      assert.match((await claim(1, 994))?.message ?? '', /quota is 1000G and 7G has been consumed/);
      assert.match((await claim(3, 1))?.message ?? '', /Maximum number of volumes allowed \(3\)/);
      await setVolumeQuota(p, 'p1', { volumes: 4, gigabytes: -1 });
      await setVolumeQuota(p, 'p1', { volumes: 5 });
      assert.equal(await claim(4, 5000), null);
      await forgetVolumeQuota(p, 'p1');
      assert.equal((await claim(3, 1))?.code, 413);
    },
    { quota: { volumes: 3 } },
  );
});

test('lists: every volume once, newest first, however many there are; from one of them on', async () => {
  await withPlatform(async (p) => {
    await addStorageHost(p);
    const db = p.stores.global;
    const first = await addVolume(p, {});
    const row = await db.selectFrom('volumes').selectAll().where('id', '=', first.id).executeTakeFirstOrThrow();
    // More than there are in the parts that are read first, some at the same moment.
    const rows = Array.from({ length: 749 }, (_, index) => ({ ...row, id: newId(), created_at: 1000 + (index >> 2) }));
    for (let at = 0; at < rows.length; at += 50) {
      await db
        .insertInto('volumes')
        .values(rows.slice(at, at + 50))
        .execute();
    }
    const all = [row, ...rows].toSorted((a, b) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1));
    const ids = all.map(({ id }) => id);
    assert.deepEqual(
      (await listVolumes(db, { projectId: 'p1' })).map(({ id }) => id),
      ids,
    );
    const parts: string[][] = [];
    for await (const part of volumesFrom(db, { projectId: 'p1' }, ids[5])) parts.push(part.map(({ id }) => id));
    assert.deepEqual(parts.flat(), ids.slice(5));
    assert.ok(parts.length > 2);
    assert.deepEqual(await everyOne(volumesFrom(db, { projectId: 'p1' }, newId())), []);
  });
});
