// Volumes go where their server goes, and nobody else gets at them. Named after what Nova's functional tests do with
// cross-cell resizes, and after the defects that are known of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serverActions } from '../../src/control/servers.ts';
import { attachVolume, detachVolume, updateAttachment } from '../../src/moves/attach.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { stopServer } from '../../src/moves/power.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { extendVolume } from '../../src/moves/volumes/extend.ts';
import {
  accessOf,
  attach,
  attachmentsOf,
  detach,
  guestVolumes,
  mappedTo,
  newVolume,
  requestAttach,
  requestVolumeBacked,
  serverWithVolumes,
  statusOf,
  volumeBackedServer,
  writtenTo,
} from './volumes.ts';
import {
  accept,
  beat,
  FLAVORS,
  homeOf,
  hostOf,
  newServer,
  refuse,
  runningOn,
  serverOf,
  settle,
  Worker,
  type World,
  withSoundWorld,
  work,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const resize = async (world: World, serverId: string): Promise<void> => {
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
};
const revert = async (world: World, serverId: string): Promise<void> => {
  await accept(world, revertResize(world.p, world.user, serverId));
  await settle(world);
};
const confirm = async (world: World, serverId: string): Promise<void> => {
  await accept(world, confirmResize(world.p, world.user, serverId));
  await settle(world);
};

/** The server has exactly these volumes: its home, its guest and the storage hosts say so. */
async function assertHas(world: World, serverId: string, volumes: readonly string[]): Promise<void> {
  const { host } = await serverOf(world, serverId);
  assert(host);
  const expected = volumes.toSorted();
  assert.deepEqual((await mappedTo(world, serverId)).toSorted(), expected, 'its home');
  assert.deepEqual((await guestVolumes(world, serverId, host)).toSorted(), expected, 'its guest');
  assert.deepEqual(await accessOf(world, serverId), expected, 'the storage hosts');
  const active = (await attachmentsOf(world, serverId)).filter((each) => each.endsWith('*'));
  assert.deepEqual(active, expected.map((volume) => `${host} ${volume}*`).toSorted(), 'its attachments');
}

test('attached: available to in-use, seen by the running guest; detached: nothing is left', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const volume = await newVolume(world);
    const before = await snapshotOf(world);
    const mapping = await requestAttach(world, serverId, volume);
    assert.equal(mapping.device, '/dev/vdb');
    assert.equal(await statusOf(world, volume), 'reserved');
    await settle(world);
    assert.equal(await statusOf(world, volume), 'in-use');
    await assertHas(world, serverId, [volume]);
    await detach(world, serverId, volume);
    assert.deepEqual(await snapshotOf(world), before);
  }));

test('test_resize_confirm: one attachment, two while VERIFY_RESIZE, one again; a volume attached meanwhile stays', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const { host: source } = await serverOf(world, serverId);
    assert.equal((await attachmentsOf(world, serverId)).length, 2);
    await resize(world, serverId);
    const { host: target } = await serverOf(world, serverId);
    assert.equal((await attachmentsOf(world, serverId)).length, 4);
    await assertHas(world, serverId, volumes);
    const late = await newVolume(world);
    await attach(world, serverId, late);
    assert.equal((await serverOf(world, serverId)).vmState, 'resized');
    assert.equal((await attachmentsOf(world, serverId)).length, 6);
    await assertHas(world, serverId, [...volumes, late]);
    await confirm(world, serverId);
    assert.notEqual(source, target);
    assert.equal((await attachmentsOf(world, serverId)).length, 3);
    await assertHas(world, serverId, [...volumes, late]);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    assert.deepEqual(await attachmentsOf(world, serverId), []);
    for (const volume of [...volumes, late]) assert.equal(await statusOf(world, volume), 'available');
  }));

test('test_resize_revert: a volume attached while VERIFY_RESIZE is the server’s after the revert', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const { host: source } = await serverOf(world, serverId);
    await resize(world, serverId);
    const late = await newVolume(world);
    await attach(world, serverId, late);
    await revert(world, serverId);
    assert.equal((await serverOf(world, serverId)).host, source);
    assert.deepEqual(runningOn(world, serverId), [source]);
    await assertHas(world, serverId, [...volumes, late]);
    assert.equal((await attachmentsOf(world, serverId)).length, 3);
  }));

test('T4: what was attached and detached while VERIFY_RESIZE is told after the revert', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const before = new Set((await serverActions(world.p, serverId)).map((each) => each.startedAt));
    await world.clock.pass(1);
    await resize(world, serverId);
    await attach(world, serverId, await newVolume(world));
    await detach(world, serverId, volumes[0]);
    await revert(world, serverId);
    const since = (await serverActions(world.p, serverId)).filter((each) => !before.has(each.startedAt));
    const names = since.map((each) => each.action).toSorted();
    assert.deepEqual(names, ['attach_volume', 'detach_volume', 'resize', 'revertResize']);
    for (const { events } of since) assert.ok(events.length > 0 && events.every((event) => event.finishedAt !== null));
  }));

test('test_resize_revert_detach_volume_while_resized, L-10: it is free at once, and not the server’s after the revert', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const [first, second] = volumes;
    const { host: source } = await serverOf(world, serverId);
    await resize(world, serverId);
    await detach(world, serverId, first);
    assert.equal(await statusOf(world, first), 'available');
    assert.equal((await attachmentsOf(world, serverId)).length, 2, 'and none left behind on the source');
    const other = await newServer(world, FLAVORS.small, 'two');
    await attach(world, other, first);
    await revert(world, serverId);
    assert.deepEqual(runningOn(world, serverId), [source]);
    await assertHas(world, serverId, [second]);
    await assertHas(world, other, [first]);
  }));

test('another volume takes a detached one’s device while VERIFY_RESIZE, and keeps it through the revert', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const [first, second] = volumes;
    await resize(world, serverId);
    await detach(world, serverId, first);
    const late = await newVolume(world);
    assert.equal((await requestAttach(world, serverId, late)).device, '/dev/vdb');
    await settle(world);
    await revert(world, serverId);
    assert.deepEqual(await mappedTo(world, serverId), [late, second]);
    await assertHas(world, serverId, [late, second]);
  }));

test('all volumes detached while VERIFY_RESIZE: the guest that comes back knows of none', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    await resize(world, serverId);
    for (const volume of volumes) await detach(world, serverId, volume);
    await revert(world, serverId);
    await assertHas(world, serverId, []);
    assert.equal(runningOn(world, serverId).length, 1);
  }));

test('L-11: what is deleted with the server, changed while VERIFY_RESIZE, survives the revert', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const [first, second] = volumes;
    await resize(world, serverId);
    await accept(world, updateAttachment(world.p, world.user, serverId, first, { deleteOnTermination: true }));
    await revert(world, serverId);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    assert.equal(await statusOf(world, first), null);
    assert.equal(await statusOf(world, second), 'available');
  }));

for (const after of ['confirmed', 'reverted'] as const) {
  test(`from SHUTOFF, ${after}: volumes go along with a server that is off`, () =>
    withSoundWorld(async (world) => {
      const { serverId, volumes } = await serverWithVolumes(world);
      await accept(world, stopServer(world.p, world.user, serverId));
      await settle(world);
      await resize(world, serverId);
      await assertHas(world, serverId, volumes);
      await (after === 'confirmed' ? confirm : revert)(world, serverId);
      assert.equal((await serverOf(world, serverId)).vmState, 'stopped');
      assert.deepEqual(runningOn(world, serverId), []);
      await assertHas(world, serverId, volumes);
    }));
}

test('test_finish_snapshot_based_resize_at_dest_spawn_fails, L-04: one connected attachment, and the guest runs with it', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const before = await snapshotOf(world);
    for (const host of world.hosts.values()) host.startFault = host.cell === 'cell2' ? 'no such machine' : null;
    await resize(world, serverId);
    assert.equal((await serverOf(world, serverId)).vmState, 'active');
    assert.equal(await homeOf(world, serverId), 'cell1');
    assert.deepEqual(await snapshotOf(world), before);
    await assertHas(world, serverId, volumes);
    for (const host of world.hosts.values()) host.startFault = null;
    await resize(world, serverId);
    assert.equal((await serverOf(world, serverId)).vmState, 'resized', 'and the same resize succeeds later');
  }));

test('nobody but the guest at home writes: the volumes’ journals have no word from where access was revoked', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const [volume] = volumes;
    await resize(world, serverId);
    await revert(world, serverId);
    const writers = writtenTo(world, volume).map((word) => / on (\S+) by /.exec(word)?.[1]);
    const { host } = await serverOf(world, serverId);
    assert.deepEqual(
      writers.filter((name, index) => name !== writers[index - 1]),
      [host, ...new Set(writers.filter((name) => name !== host)), host],
    );
  }));

test('V34 and the rules: 409 while something else goes on, 404 and 400 as Nova says', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const [first] = volumes;
    const other = await newServer(world, FLAVORS.small, 'two');
    const wish = (volumeId: string, device: string | null = null) => ({
      ...{ volumeId, device, tag: null, deleteOnTermination: false, readOnly: false },
    });
    const refusedAttach = async (server: string, volumeId: string, device: string | null = null) => {
      const attached = await world.clock.drive(attachVolume(world.p, world.user, server, wish(volumeId, device)));
      assert(attached.kind === 'refused');
      return attached.refusal;
    };
    assert.equal((await refusedAttach(other, first)).code, 400, 'another has it');
    assert.match((await refusedAttach(serverId, first)).message, /already attached$/);
    const free = await newVolume(world);
    assert.equal((await refusedAttach(serverId, free, '/dev/vdb')).code, 409);
    assert.equal((await refusedAttach(serverId, world.imageId)).code, 404);
    assert.equal((await refuse(world, detachVolume(world.p, world.user, serverId, free))).code, 404);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    assert.equal((await refusedAttach(serverId, free)).code, 409, 'it is being resized');
    assert.equal((await refuse(world, detachVolume(world.p, world.user, serverId, first))).code, 409);
    assert.equal(await statusOf(world, free), 'available');
    assert.equal(await statusOf(world, first), 'in-use');
    await settle(world);
  }));

test('a guest that does not let go of a disk keeps it', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const before = await snapshotOf(world);
    const { host } = await serverOf(world, serverId);
    hostOf(world, host).trouble = (method) => (method === 'detachVolume' ? 'unreachable' : 'none');
    await accept(world, detachVolume(world.p, world.user, serverId, volumes[0]));
    await settle(world);
    hostOf(world, host).up();
    assert.deepEqual(await snapshotOf(world), before);
  }));

test('a volume that has grown under its guest is the same volume: a detach that turns back finds it plugged in', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const [volume] = volumes;
    await grow(world, volume);
    const { host } = await serverOf(world, serverId);
    hostOf(world, host).trouble = (method) => (method === 'detachVolume' ? 'unreachable' : 'none');
    const before = await snapshotOf(world);
    await accept(world, detachVolume(world.p, world.user, serverId, volume));
    await settle(world);
    hostOf(world, host).up();
    assert.deepEqual(await snapshotOf(world), before);
    await assertHas(world, serverId, volumes);
  }));

test('a guest sees at once that its volume has grown; one that cannot be told, at its next start', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const { host } = await serverOf(world, serverId);
    const { hypervisor } = hostOf(world, host);
    const seen = () => volumes.map((id) => (hypervisor.seenBytes(serverId, id) ?? 0) / 2 ** 30);
    await grow(world, volumes[0]);
    assert.deepEqual(seen(), [2, 1]);
    for (const trouble of ['unreachable', 'lost'] as const) {
      hostOf(world, host).trouble = (method) => (method === 'growVolume' ? trouble : 'none');
      await accept(
        world,
        extendVolume(world.p, world.user, volumes[1], trouble === 'lost' ? 4 : 3, { attached: true }),
      );
      await settle(world);
      assert.equal(await statusOf(world, volumes[1]), 'in-use');
    }
    hostOf(world, host).up();
    const sagas = world.p.stores.global.selectFrom('sagas').select('journal_json').where('key', '=', volumes[1]);
    const extended = await sagas.where('definition', '=', 'extend volume').execute();
    assert.equal(extended.length, 2);
    for (const { journal_json } of extended) assert.match(journal_json, /seen at their next start by 1 of the guests/);
    await resize(world, serverId);
    await revert(world, serverId);
    assert.deepEqual(seen(), [2, 4]);
  }));

test('a volume grows under a server that something else is done to, and leaves that alone', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    const asked: string[] = [];
    for (const host of world.hosts.values())
      host.trouble = (method) => {
        if (method === 'growVolume') asked.push(host.name);
        // The move waits for its hosts meanwhile.
        return method === 'heartbeat' ? 'none' : 'unreachable';
      };
    await accept(world, extendVolume(world.p, world.user, volumes[0], 2, { attached: true }));
    for (let round = 0; (await statusOf(world, volumes[0])) !== 'in-use'; round += 1) {
      assert(round < 20);
      await work(world, 100);
    }
    assert.notEqual((await serverOf(world, serverId)).taskState, null);
    assert.deepEqual(asked, []);
    for (const host of world.hosts.values()) host.up();
    await settle(world);
    await assertHas(world, serverId, volumes);
  }));

test('a volume that has grown while VERIFY_RESIZE goes back with its server', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    await resize(world, serverId);
    await grow(world, volumes[0]);
    await revert(world, serverId);
    await assertHas(world, serverId, volumes);
    assert.equal(runningOn(world, serverId).length, 1);
  }));

const grow = async (world: World, volumeId: string): Promise<void> => {
  await accept(world, extendVolume(world.p, world.user, volumeId, 2, { attached: true }));
  await settle(world);
  assert.equal(await statusOf(world, volumeId), 'in-use');
};

test('a volume whose server is deleted while it grows is free afterwards', () =>
  withSoundWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world);
    const [volume] = volumes;
    for (const storage of world.storage.values())
      storage.trouble = (method) => (method === 'extend' ? 'unreachable' : 'none');
    await accept(world, extendVolume(world.p, world.user, volume, 2, { attached: true }));
    await accept(world, deleteServer(world.p, world.user, serverId));
    await work(world, 60_000);
    assert.equal(await statusOf(world, volume), 'extending');
    for (const storage of world.storage.values()) storage.up();
    await settle(world);
    assert.equal(await statusOf(world, volume), 'available');
  }));

for (const back of ['can be reached again', 'has restarted'] as const) {
  test(`a failed attach does not wait for a compute host that is down; once it ${back}, its guest forgets the volume`, () =>
    withSoundWorld(async (world) => {
      const serverId = await newServer(world);
      const volume = await newVolume(world);
      const host = hostOf(world, (await serverOf(world, serverId)).host);
      host.trouble = (method) => (method === 'attachVolume' ? 'lost' : 'none');
      await requestAttach(world, serverId, volume);
      const worker = new Worker(world);
      while ((await guestVolumes(world, serverId, host.name)).length === 0) await worker.step();
      host.down();
      await settle(world);
      assert.equal(await statusOf(world, volume), 'available');
      assert.deepEqual(await accessOf(world, serverId), [], 'the guest has it, and reaches it no more');
      assert.deepEqual(await guestVolumes(world, serverId, host.name), [volume]);
      const other = await newServer(world, FLAVORS.big, 'two');
      await attach(world, other, volume);
      if (back === 'has restarted') await world.clock.drive(host.reboot());
      host.up();
      const resumed: unknown[] = [];
      host.wrap((agent) => ({
        ...agent,
        detachVolume: async (...args) => {
          const { global } = world.p.stores;
          resumed.push(...(await global.selectFrom('sagas').select('id').where('definition', '=', 'resume').execute()));
          return agent.detachVolume(...args);
        },
      }));
      for (let round = 0; round < 4; round += 1) {
        await world.clock.pass(11_000);
        await beat(world);
      }
      await settle(world);
      assert.deepEqual(await guestVolumes(world, serverId, host.name), []);
      await assertHas(world, other, [volume]);
      assert.deepEqual(resumed, [], 'a guest is turned on again when it has forgotten the volume');
      assert.deepEqual(runningOn(world, serverId), [host.name]);
    }));
}

test('a volume that cannot be plugged in is free again', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const volume = await newVolume(world);
    const before = await snapshotOf(world);
    const { host } = await serverOf(world, serverId);
    hostOf(world, host).trouble = (method) => (method === 'attachVolume' ? 'unreachable' : 'none');
    await requestAttach(world, serverId, volume);
    await settle(world);
    hostOf(world, host).up();
    assert.deepEqual(await snapshotOf(world), before);
  }));

for (const [how, off] of [
  ['ACTIVE', false],
  ['SHUTOFF', true],
] as const) {
  for (const after of ['confirmed', 'reverted'] as const) {
    test(`volume-backed, ${how}, ${after}: no disk is copied, no image kept, no DISK_GB claimed`, () =>
      withSoundWorld(async (world) => {
        const { serverId, volumes } = await volumeBackedServer(world);
        const [root] = volumes;
        assert(root);
        assert.equal((await serverOf(world, serverId)).image.id, null);
        await assertHas(world, serverId, volumes);
        if (off) {
          await accept(world, stopServer(world.p, world.user, serverId));
          await settle(world);
        }
        const before = await snapshotOf(world);
        await resize(world, serverId);
        await assertHas(world, serverId, volumes);
        assert.equal((await attachmentsOf(world, serverId)).length, 6);
        const used = await world.p.stores.global
          .selectFrom('allocations')
          .select('resource_class')
          .where('resource_class', '=', 'DISK_GB')
          .execute();
        assert.deepEqual(used, []);
        await (after === 'confirmed' ? confirm : revert)(world, serverId);
        await assertHas(world, serverId, volumes);
        assert.equal(runningOn(world, serverId).length, off ? 0 : 1);
        if (after === 'reverted') assert.deepEqual(await snapshotOf(world), before);
        await accept(world, deleteServer(world.p, world.user, serverId));
        await settle(world);
        assert.equal(await statusOf(world, root), null, 'the root volume goes with the server');
        assert.deepEqual(await Promise.all(volumes.slice(1).map((each) => statusOf(world, each))), [
          'available',
          'available',
        ]);
      }));
  }
}

test('a volume-backed server that cannot be built gives its volumes back and keeps none that was made for it', () =>
  withSoundWorld(async (world) => {
    const data = await newVolume(world);
    const before = await volumesOf(world);
    for (const host of world.hosts.values()) host.startFault = 'no such machine';
    const serverId = await requestVolumeBacked(world, FLAVORS.small, data);
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'error');
    assert.deepEqual(await volumesOf(world), before);
    assert.deepEqual(await accessOf(world, serverId), []);
    assert.deepEqual(await mappedTo(world, serverId), []);
  }));

test('a build that succeeds on the second host has its volumes there alone', () =>
  withSoundWorld(async (world) => {
    const data = await newVolume(world);
    hostOf(world, 'cell1-a').startFault = 'no such machine';
    const serverId = await requestVolumeBacked(world, FLAVORS.small, data);
    await settle(world);
    assert.equal((await serverOf(world, serverId)).host, 'cell1-b');
    const volumes = await mappedTo(world, serverId);
    await assertHas(world, serverId, volumes);
    assert.equal((await attachmentsOf(world, serverId)).length, 3);
  }));

test('a volume that cannot be made: the server is in ERROR, and nothing is left', () =>
  withSoundWorld(async (world) => {
    const data = await newVolume(world);
    const before = await volumesOf(world);
    for (const storage of world.storage.values()) storage.makeFault = 'no room';
    const serverId = await requestVolumeBacked(world, FLAVORS.small, data);
    await settle(world);
    assert.match((await serverOf(world, serverId)).fault?.details ?? '', /no room/);
    assert.deepEqual(await volumesOf(world), before);
  }));

/** All volumes with their statuses. */
const volumesOf = (world: World) =>
  world.p.stores.global.selectFrom('volumes').select(['id', 'status']).orderBy('id').execute();

for (const [what, after] of [
  ['deleted', 'gone'],
  ['detached from', 'available'],
] as const) {
  test(`a storage host that is down holds up nobody: a server ${what} while it is, and owed until it is back`, () =>
    withSoundWorld(async (world) => {
      const { serverId, volumes } = await volumeBackedServer(world);
      const [root, data] = volumes;
      assert(root && data);
      for (const storage of world.storage.values()) storage.down();
      for (let round = 0; round < 8; round += 1) {
        await world.clock.pass(5_000);
        await beat(world);
      }
      if (after === 'gone') await accept(world, deleteServer(world.p, world.user, serverId));
      else await accept(world, detachVolume(world.p, world.user, serverId, data));
      await settle(world);
      assert.equal(await statusOf(world, data), 'detaching');
      const debts = await world.p.stores.global
        .selectFrom('debts')
        .select('kind')
        .where('paid_at', 'is', null)
        .execute();
      assert.deepEqual(
        debts.map((debt) => debt.kind).toSorted(),
        after === 'gone' ? ['delete-volume', 'revoke-volume', 'revoke-volume', 'revoke-volume'] : ['revoke-volume'],
      );
      const other = await newServer(world, FLAVORS.small, 'two');
      const taken = await world.clock.drive(
        attachVolume(world.p, world.user, other, {
          ...{ volumeId: data, device: null, tag: null, deleteOnTermination: false, readOnly: false },
        }),
      );
      assert.equal(taken.kind, 'refused', 'nobody gets it while the old access may still be open');
      for (const storage of world.storage.values()) storage.up();
      for (let round = 0; round < 8; round += 1) {
        await world.clock.pass(5_000);
        await beat(world);
      }
      assert.equal(await statusOf(world, data), 'available');
      if (after === 'gone') assert.equal(await statusOf(world, root), null);
      assert.deepEqual(
        await accessOf(world, serverId),
        after === 'gone' ? [] : (await mappedTo(world, serverId)).toSorted(),
      );
    }));
}
