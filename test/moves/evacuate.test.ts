// Evacuations, and what the old host does when it comes back. How they end when a step fails is in the matrix.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { updateService } from '../../src/control/hosts.ts';
import { listMigrations } from '../../src/control/migrations.ts';
import { destroy, listQuarantine } from '../../src/control/quarantine.ts';
import { serverActions } from '../../src/control/servers.ts';
import { evacuateServer } from '../../src/moves/evacuate.ts';
import { stopServer } from '../../src/moves/power.ts';
import { migrateServer } from '../../src/moves/resize.ts';
import { accessOf, guestVolumes, mappedTo, serverWithVolumes, volumeBackedServer, writtenTo } from './volumes.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  homeOf,
  hostOf,
  newServer,
  refuse,
  runningOn,
  serverOf,
  settle,
  type World,
  withWorld,
} from './world.ts';

const COMPARE = 6;
const SILENCE_MS = 120_000;

const evacuate = (world: World, serverId: string, host: string | null = null, staysOff = false) =>
  evacuateServer(world.p, world.admin, serverId, { host, staysOff });

/** The machine is off, and counts as down. */
async function lose(world: World, name: string): Promise<void> {
  await hostOf(world, name).reboot();
  hostOf(world, name).down();
  await world.clock.pass(SILENCE_MS);
  await beat(world);
}

async function comeBack(world: World, name: string): Promise<void> {
  hostOf(world, name).up();
  await beat(world, COMPARE);
  await world.clock.pass(11_000);
  await beat(world);
  await settle(world);
}

async function placeOf(world: World, serverId: string): Promise<string> {
  return (await serverOf(world, serverId)).host ?? '';
}

const kept = async (world: World) =>
  (await listQuarantine(world.p, { limit: 10 })).map(({ host, serverId, reason }) => ({ host, serverId, reason }));

/** A server that was evacuated, and whose old host is back with its disk. Its flavor has no other hosts than these two. */
async function evacuated(world: World): Promise<{ serverId: string; first: string; second: string }> {
  const serverId = await newServer(world);
  const first = await placeOf(world, serverId);
  await lose(world, first);
  await accept(world, evacuate(world, serverId));
  await settle(world);
  const second = await placeOf(world, serverId);
  await comeBack(world, first);
  return { serverId, first, second };
}

test('a server of a lost host is built anew on another one, with a fresh disk; the old disk is kept', () =>
  withWorld(async (world) => {
    const serverId = await newServer(world);
    const before = await serverOf(world, serverId);
    const old = before.host ?? '';
    assert.deepEqual(await refuse(world, evacuate(world, serverId)), {
      code: 400,
      message: `Compute service of ${old} is still in use.`,
    });
    await lose(world, old);
    await accept(world, evacuate(world, serverId));
    assert.equal((await serverOf(world, serverId)).taskState, 'rebuilding');
    await settle(world);

    const after = await serverOf(world, serverId);
    assert.deepEqual([after.vmState, after.taskState, await homeOf(world, serverId)], ['active', null, 'cell1']);
    assert.notEqual(after.host, old);
    assert.deepEqual({ ...after.flavor, tags: after.tags }, { ...before.flavor, tags: before.tags });
    assert.equal(hostOf(world, after.host).hypervisor.diskWords(serverId)?.length, 2, 'a fresh disk, and one start');
    const [migration] = (await listMigrations(world.p, { serverId, limit: 1 })) ?? [];
    assert.deepEqual(
      [migration?.type, migration?.status, migration?.sourceHost, migration?.destHost],
      ['evacuation', 'done', old, after.host],
    );
    assert.ok((await serverActions(world.p, serverId)).some((each) => each.action === 'evacuate' && !each.message));

    await comeBack(world, old);
    const reason = `its server was evacuated to ${after.host}`;
    assert.deepEqual(await kept(world), [{ host: old, serverId, reason }]);
    assert.deepEqual(runningOn(world, serverId), [after.host]);
    await assertSound(world);
  }));

test('the old guest is turned off when a host comes back that was only cut off', () =>
  withWorld(async (world) => {
    const serverId = await newServer(world);
    const old = await placeOf(world, serverId);
    hostOf(world, old).down();
    await world.clock.pass(SILENCE_MS);
    await beat(world);
    await accept(world, evacuate(world, serverId));
    await settle(world);
    assert.equal(runningOn(world, serverId).length, 2, 'nobody can reach it');
    await comeBack(world, old);
    assert.deepEqual(runningOn(world, serverId), [await placeOf(world, serverId)]);
    await assertSound(world);
  }));

test('a server does not go back to a host where its old disk lies, until that is gone', () =>
  withWorld(async (world) => {
    const { serverId, first, second } = await evacuated(world);
    await lose(world, second);
    await accept(world, evacuate(world, serverId));
    await settle(world);
    assert.equal(await placeOf(world, serverId), second);
    assert.ok((await serverActions(world.p, serverId)).some((each) => each.message === 'Error'));

    const [old] = await listQuarantine(world.p, { limit: 1 });
    await accept(world, destroy(world.p, world.admin, old?.id ?? ''));
    await world.clock.pass(11_000);
    await beat(world);
    await accept(world, evacuate(world, serverId));
    await settle(world);
    assert.equal(await placeOf(world, serverId), first);
    await comeBack(world, second);
    await assertSound(world);
  }));

test('a migration does not take a server to a host where its old disk lies: undoing that would destroy the disk', () =>
  withWorld(async (world) => {
    const { serverId, first, second } = await evacuated(world);
    const disk = hostOf(world, first).hypervisor.diskWords(serverId);
    assert.ok(disk);
    const before = await kept(world);
    assert.deepEqual(
      before.map((each) => each.host),
      [first],
    );
    await accept(world, migrateServer(world.p, world.admin, serverId, { host: null }));
    await settle(world);
    assert.equal(await placeOf(world, serverId), second);
    assert.deepEqual(await kept(world), before);
    assert.deepEqual(hostOf(world, first).hypervisor.diskWords(serverId), disk);
    await assertSound(world);
  }));

test('a server that boots from a volume keeps its data in another cell, and the old host loses its access', () =>
  withWorld(async (world) => {
    const { serverId, volumes } = await volumeBackedServer(world, FLAVORS.plain);
    const old = await placeOf(world, serverId);
    const [root = ''] = volumes;
    const written = writtenTo(world, root);
    const elsewhere = old.startsWith('cell1') ? 'cell2-b' : 'cell1-b';
    hostOf(world, old).down();
    await world.clock.pass(SILENCE_MS);
    await beat(world);
    await accept(world, evacuate(world, serverId, elsewhere));
    await settle(world);
    assert.equal(await placeOf(world, serverId), elsewhere);
    assert.equal(await homeOf(world, serverId), elsewhere.slice(0, 5));
    assert.deepEqual(await accessOf(world, serverId), volumes.toSorted());
    assert.deepEqual(hostOf(world, old).hypervisor.writableVolumes(serverId), []);
    assert.deepEqual(writtenTo(world, root).slice(0, written.length), written);
    assert.equal(writtenTo(world, root).length, written.length + 1);
    await comeBack(world, old);
    assert.deepEqual(await kept(world), []);
    assert.deepEqual(runningOn(world, serverId), [elsewhere]);
    await assertSound(world);
  }));

test('a server that cannot be started elsewhere is where it was, and has its volumes when its host comes back', () =>
  withWorld(async (world) => {
    const { serverId, volumes } = await volumeBackedServer(world, FLAVORS.plain);
    const old = await placeOf(world, serverId);
    await lose(world, old);
    for (const host of world.hosts.values()) if (host.name !== old) host.startFault = 'no accelerator';
    await accept(world, evacuate(world, serverId));
    await settle(world);
    assert.equal(await placeOf(world, serverId), old);
    assert.equal((await serverOf(world, serverId)).vmState, 'active');
    for (const host of world.hosts.values()) host.startFault = null;
    await comeBack(world, old);
    assert.deepEqual(runningOn(world, serverId), [old]);
    assert.deepEqual(hostOf(world, old).hypervisor.writableVolumes(serverId).toSorted(), volumes.toSorted());
    assert.deepEqual(await guestVolumes(world, serverId, old), await mappedTo(world, serverId));
    await assertSound(world);
  }));

test('access that was given on the way back, and arrives when nobody waits for it any more, opens nothing', () =>
  withWorld(async (world) => {
    const { serverId, volumes } = await volumeBackedServer(world, FLAVORS.plain);
    const old = await placeOf(world, serverId);
    await lose(world, old);
    for (const host of world.hosts.values()) if (host.name !== old) host.startFault = 'no accelerator';
    // The first is the new host's.
    const given = new Set<string>();
    let late = 0;
    for (const storage of world.storage.values()) {
      storage.trouble = (method, id = '') => {
        if (method !== 'grant') return 'none';
        if (!given.has(id)) {
          given.add(id);
          return 'none';
        }
        late += 1;
        return { kind: 'late', afterMs: 30_000 };
      };
    }
    await accept(world, evacuate(world, serverId));
    await settle(world);
    await world.clock.pass(60_000);
    assert.ok(late > 0);
    assert.deepEqual([await placeOf(world, serverId), await accessOf(world, serverId)], [old, []]);
    for (const storage of world.storage.values()) storage.up();
    for (const host of world.hosts.values()) host.startFault = null;
    await comeBack(world, old);
    assert.deepEqual(hostOf(world, old).hypervisor.writableVolumes(serverId).toSorted(), volumes.toSorted());
    await assertSound(world);
  }));

test('a guest that went on running on a host that was cut off gets its volumes back, when it stays there', () =>
  withWorld(async (world) => {
    const { serverId, volumes } = await serverWithVolumes(world, FLAVORS.plain);
    const old = await placeOf(world, serverId);
    hostOf(world, old).down();
    await world.clock.pass(SILENCE_MS);
    await beat(world);
    for (const host of world.hosts.values()) host.startFault = 'no accelerator';
    await accept(world, evacuate(world, serverId));
    await settle(world);
    assert.deepEqual([await placeOf(world, serverId), runningOn(world, serverId)], [old, [old]]);
    assert.deepEqual(hostOf(world, old).hypervisor.writableVolumes(serverId), []);
    await comeBack(world, old);
    assert.deepEqual(hostOf(world, old).hypervisor.writableVolumes(serverId).toSorted(), volumes.toSorted());
    await assertSound(world);
  }));

test('a host that is up again by then keeps its servers', () =>
  withWorld(async (world) => {
    const serverId = await newServer(world);
    const old = await placeOf(world, serverId);
    await accept(world, updateService(world.p, old, { forcedDown: true }));
    await accept(world, evacuate(world, serverId));
    await accept(world, updateService(world.p, old, { forcedDown: false }));
    await settle(world);
    assert.equal(await placeOf(world, serverId), old);
    assert.deepEqual(runningOn(world, serverId), [old]);
    const action = (await serverActions(world.p, serverId)).find((each) => each.action === 'evacuate');
    assert.ok(action?.events.some((event) => /is up again: there is nothing to evacuate/.test(event.details ?? '')));
    await beat(world, COMPARE);
    await assertSound(world);
  }));

test('a server that was off stays off, and one that is to stay off does', () =>
  withWorld(async (world) => {
    const [off, on] = [await newServer(world), await newServer(world)];
    await accept(world, stopServer(world.p, world.user, off));
    await settle(world);
    for (const serverId of [off, on]) {
      const old = await placeOf(world, serverId);
      await accept(world, updateService(world.p, old, { forcedDown: true }));
      await accept(world, evacuate(world, serverId, null, serverId === on));
      await settle(world);
      await accept(world, updateService(world.p, old, { forcedDown: false }));
      const after = await serverOf(world, serverId);
      assert.notEqual(after.host, old);
      assert.deepEqual([after.vmState, runningOn(world, serverId)], ['stopped', []]);
      await beat(world, COMPARE);
    }
    await assertSound(world);
  }));

test('an evacuation is refused for a host that is not there, for its own, and while something goes on', () =>
  withWorld(async (world) => {
    const serverId = await newServer(world);
    const old = await placeOf(world, serverId);
    assert.deepEqual(await refuse(world, evacuate(world, serverId, 'nowhere')), {
      code: 404,
      message: 'Compute host nowhere not found.',
    });
    assert.equal(
      (await refuse(world, evacuate(world, serverId, old))).message,
      "The target host can't be the same one.",
    );
    await accept(world, updateService(world.p, old, { forcedDown: true }));
    await accept(world, evacuate(world, serverId));
    assert.equal((await refuse(world, evacuate(world, serverId))).code, 409);
    await settle(world);
  }));
