// Every breach that concerns volumes, planted by hand: the auditor names it, and nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Kysely } from 'kysely';
import { repair } from '../../src/audit/repair.ts';
import { attachmentsOfServer } from '../../src/control/volumes/attachments.ts';
import { newId } from '../../src/lib/ids.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import type { GlobalTables } from '../../src/store/global-schema.ts';
import { accessOf, newVolume, serverWithVolumes, statusOf } from './volumes.ts';
import {
  accept,
  assertSound,
  auditWorld,
  beat,
  newServer,
  serverOf,
  settle,
  type World,
  withSoundWorld,
  withWorld,
} from './world.ts';

interface Planted {
  readonly what: string;
  plant(world: World, serverId: string, volumes: readonly [string, string]): Promise<unknown>;
  readonly invariant: string;
  readonly says: RegExp;
  /** The audit can repair it; absent: that is not looked at here. */
  readonly repaired?: boolean;
}

const storageOf = async (world: World, volumeId: string) => {
  for (const storage of world.storage.values()) if (storage.driver.words(volumeId)) return storage;
  return assert.fail(`volume ${volumeId} is nowhere`);
};

const newStatus = (status: string, of: 'attached' | 'free'): Pick<Planted, 'what' | 'plant' | 'invariant'> => ({
  what: `a volume that is ${of} and shown ${status}`,
  plant: async (world, _, [attached]) => {
    const id = of === 'attached' ? attached : await newVolume(world);
    await world.clock.pass(1000);
    await world.p.stores.global.updateTable('volumes').set({ status }).where('id', '=', id).execute();
  },
  invariant: 'status of volumes',
});

const PLANTED: readonly Planted[] = [
  ...['attaching', 'reserved', 'in-use', 'detaching'].map((status) => ({
    ...{ ...newStatus(status, 'free'), says: /although no server has it$/, repaired: true },
  })),
  ...['available', 'reserved', 'detaching'].map((status) => ({
    ...{ ...newStatus(status, 'attached'), says: /although it is attached to /, repaired: true },
  })),
  { ...newStatus('extending', 'free'), says: /is extending although nothing is under way$/ },
  {
    what: 'an attachment that is active nowhere',
    plant: (world, _, [volume]) =>
      world.p.stores.global
        .updateTable('volume_attachments')
        .set({ host: 'cell2-a' })
        .where('volume_id', '=', volume)
        .execute(),
    invariant: 'volumes',
    says: /is active on cell2-a; the server is on cell1-/,
  },
  {
    what: 'an attachment left behind by a move',
    plant: (world, serverId, [volume]) =>
      world.p.stores.global
        .insertInto('volume_attachments')
        .values({
          ...{ id: newId(), volume_id: volume, server_id: serverId, host: 'cell2-b', active: 0, mode: 'rw' },
          ...{ generation: 1, created_at: 1, attached_at: 1 },
        })
        .execute(),
    invariant: 'volumes',
    says: /on cell2-b is left of a move$/,
  },
  {
    what: 'an attachment without a mapping',
    plant: async (world, serverId, [volume]) => {
      for (const { id } of await world.p.stores.global.selectFrom('cells').select('id').execute()) {
        const cell = await world.p.stores.cell(id);
        await cell
          .deleteFrom('block_device_mappings')
          .where('server_id', '=', serverId)
          .where('volume_id', '=', volume)
          .execute();
      }
    },
    invariant: 'volumes',
    says: /is not in its home$/,
  },
  {
    what: 'somebody who is let in without an attachment',
    plant: async (world, serverId, [volume]) => {
      const storage = await storageOf(world, volume);
      const generation = Number.MAX_SAFE_INTEGER;
      const [attachment] = await world.p.stores.global
        .selectFrom('volume_attachments')
        .select('id')
        .where('volume_id', '=', volume)
        .execute();
      await storage.agent.revoke(volume, attachment?.id ?? '', { serverId, generation });
      await storage.agent.grant(volume, newId(), { serverId, generation, mode: 'rw' });
    },
    invariant: 'access to volumes',
    says: /lets server .* to volume .*, which it does not have there$|does not let server/,
  },
  {
    what: 'a volume that is on record and nowhere else',
    plant: async (world, _, [volume]) => {
      const { global } = world.p.stores;
      const row = await global.selectFrom('volumes').selectAll().where('id', '=', volume).executeTakeFirstOrThrow();
      await global
        .insertInto('volumes')
        .values({ ...row, id: newId(), status: 'available' })
        .execute();
    },
    invariant: 'volumes kept',
    says: /does not have volume/,
  },
  {
    what: 'a volume that nobody knows',
    plant: async (world) => {
      const storage = world.storage.get('storage1');
      assert(storage);
      const made = { generation: 1, sizeBytes: 2 ** 30, source: { kind: 'blank' } } as const;
      await world.clock.drive(storage.agent.create(newId(), made));
    },
    invariant: 'volumes kept',
    says: /keeps volume .*, which is not on record there$/,
  },
  {
    what: 'a volume for one that two servers have',
    plant: async (world, serverId, [volume]) => {
      const { global } = world.p.stores;
      const other = await newServer(world);
      const { host } = await serverOf(world, other);
      const of = global.selectFrom('volume_attachments').selectAll().where('server_id', '=', serverId);
      const attachment = await of.where('volume_id', '=', volume).executeTakeFirstOrThrow();
      const { cell_id: cellId } = await global
        .selectFrom('server_mappings')
        .select('cell_id')
        .where('server_id', '=', other)
        .executeTakeFirstOrThrow();
      const cell = await world.p.stores.cell(cellId);
      const mapped = cell.selectFrom('block_device_mappings').selectAll().where('server_id', '=', serverId);
      const mapping = await mapped.where('volume_id', '=', volume).executeTakeFirstOrThrow();
      const id = newId();
      await global
        .insertInto('volume_attachments')
        .values({ ...attachment, id, server_id: other, host: host ?? '' })
        .execute();
      await cell
        .insertInto('block_device_mappings')
        .values({ ...mapping, id: newId(), server_id: other })
        .execute();
      const storage = await storageOf(world, volume);
      const generation = Number.MAX_SAFE_INTEGER;
      await storage.agent.grant(volume, id, { serverId: other, generation, mode: 'rw' });
      await world.clock.pass(1000);
    },
    invariant: 'one server per volume',
    says: /is attached to .* and .*, and may be to one alone$/,
  },
  {
    what: 'a snapshot that nobody makes',
    plant: async (world, _, [volume]) => {
      const row = { name: null, description: null, project_id: 'p', user_id: 'u', size_gb: 1, metadata_json: '{}' };
      await world.p.stores.global
        .insertInto('volume_snapshots')
        .values({ ...row, id: newId(), volume_id: volume, status: 'creating', created_at: 1, updated_at: 1 })
        .execute();
    },
    invariant: 'snapshots at rest',
    says: /is creating although nothing is under way$/,
  },
  {
    what: 'a snapshot that is on record and nowhere else',
    plant: async (world, _, [volume]) => {
      const row = { name: null, description: null, project_id: 'p', user_id: 'u', size_gb: 1, metadata_json: '{}' };
      await world.p.stores.global
        .insertInto('volume_snapshots')
        .values({ ...row, id: newId(), volume_id: volume, status: 'available', created_at: 1, updated_at: 1 })
        .execute();
    },
    invariant: 'snapshots kept',
    says: /does not have snapshot/,
  },
  {
    what: 'a snapshot that nobody knows',
    plant: async (world, _, [volume]) => {
      const storage = await storageOf(world, volume);
      await world.clock.drive(storage.agent.snapshot(volume, newId(), { generation: Number.MAX_SAFE_INTEGER }));
    },
    invariant: 'snapshots kept',
    says: /keeps snapshot .*, which is not on record$/,
  },
];

for (const { what, plant, invariant, says, repaired } of PLANTED) {
  test(`the auditor finds ${what}`, () =>
    withWorld(async (world) => {
      const { serverId, volumes } = await serverWithVolumes(world);
      await assertSound(world);
      await plant(world, serverId, volumes);
      const report = await auditWorld(world);
      const found = report.invariants.flatMap((each) => each.breaches.map((breach) => `${each.name}: ${breach.what}`));
      assert(found.length > 0);
      for (const each of found) {
        assert(each.startsWith(`${invariant}: `), each);
        assert.match(each, says);
      }
      if (!repaired) return;
      assert.equal((await repairAll(world)).length, 1);
      await assertSound(world);
    }));
}

test('repaired: attachments of a server that is gone; its volumes are free', () =>
  withWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const { global } = world.p.stores;
    const rows = await global.selectFrom('volume_attachments').selectAll().execute();
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    await global.insertInto('volume_attachments').values(rows).execute();
    await global.updateTable('volumes').set({ status: 'in-use' }).execute();
    assert.equal((await repairAll(world)).length, volumes.length);
    await world.clock.pass(11_000);
    await beat(world);
    await assertSound(world);
    for (const volume of volumes) assert.equal(await statusOf(world, volume), 'available');
  }));

test('repaired: an access that no attachment says is shut; the attachment of a server that exists is left alone', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const [volume] = volumes;
    const stranger = newId();
    const storage = await storageOf(world, volume);
    await storage.agent.grant(volume, newId(), { serverId: stranger, generation: 1, mode: 'rw' });
    assert.deepEqual(await accessOf(world, stranger), [volume]);
    assert.equal((await repairAll(world)).length, 1);
    assert.deepEqual(await accessOf(world, stranger), []);
    assert.deepEqual(await accessOf(world, serverId), volumes.toSorted());
    await assertSound(world);
    const [attachment] = await attachmentsOfServer(world.p.stores.global, serverId);
    assert(attachment);
    const { volumeId, storageHost, id: attachmentId } = attachment;
    const fixes = [
      { kind: 'release volume', volumeId, serverId, storageHost },
      { kind: 'revoke access', volumeId, serverId, storageHost, attachmentId },
    ] as const;
    for (const fix of fixes) assert.equal((await world.clock.drive(repair(world.p, fix))).kind, 'left');
  }));

const ONE_SIDED: ReadonlyArray<
  readonly [what: string, plant: (db: Kysely<GlobalTables>, volume: string, serverId: string) => Promise<unknown>]
> = [
  [
    'the attachment of a volume that its server has is missing',
    (db, volume) => db.deleteFrom('volume_attachments').where('volume_id', '=', volume).execute(),
  ],
  [
    'the attachment of a volume that its server has is called inactive',
    (db, volume) => db.updateTable('volume_attachments').set({ active: 0 }).where('volume_id', '=', volume).execute(),
  ],
  [
    'a server that runs is called deleted outside its home',
    (db, _, serverId) =>
      db.updateTable('server_mappings').set({ deleted_at: 1 }).where('server_id', '=', serverId).execute(),
  ],
];

for (const [what, plant] of ONE_SIDED) {
  test(`left to a person: ${what}; its guest keeps its disks`, () =>
    withWorld(async (world) => {
      const { serverId, volumes } = await serverWithVolumes(world);
      const { global } = world.p.stores;
      const before = await accessOf(world, serverId);
      const { host } = await serverOf(world, serverId);
      await plant(global, volumes[0], serverId);
      assert.deepEqual(await repairAll(world), []);
      await world.clock.pass(11_000);
      await beat(world);
      assert.deepEqual(await accessOf(world, serverId), before);
      const guest = await world.clock.drive((await world.p.host(host ?? '')).guest(serverId));
      assert.ok(guest.kind === 'ok' && guest.value.power === 'on');
      const { status } = await global
        .selectFrom('volumes')
        .select('status')
        .where('id', '=', volumes[0])
        .executeTakeFirstOrThrow();
      assert.equal(status, 'in-use');
    }));
}

/** Repairs what the auditor finds; answers what it did. */
async function repairAll(world: World): Promise<string[]> {
  // What has ended in this very millisecond would count as busy.
  await world.clock.pass(1000);
  const did: string[] = [];
  for (const { breaches } of (await auditWorld(world)).invariants) {
    for (const { fix } of breaches) {
      if (!fix) continue;
      const result = await world.clock.drive(repair(world.p, fix));
      if (result.kind === 'repaired') did.push(result.did);
    }
  }
  return did;
}

test('a storage host that does not answer makes the auditor unsure, not wrong', () =>
  withWorld(async (world) => {
    await serverWithVolumes(world);
    world.storage.get('storage1')?.down();
    const report = await auditWorld(world);
    assert.equal(report.verdict, 'unknown');
    for (const name of ['access to volumes', 'volumes kept', 'snapshots kept']) {
      const found = report.invariants.find((each) => each.name === name);
      assert.match(found?.unknown[0] ?? '', /^storage host storage1: /);
    }
  }));
