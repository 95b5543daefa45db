// Hosts that never return: whatever was under way on them ends, and their servers are saved by an evacuation. That what a
// host owes is paid when it does return is in the matrix (matrix/run.ts: nobody waits for hosts that are gone).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDebts } from '../../src/control/debts.ts';
import { updateService } from '../../src/control/hosts.ts';
import type { Platform } from '../../src/control/platform.ts';
import type { Refusal } from '../../src/model/types.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { evacuateServer } from '../../src/moves/evacuate.ts';
import { pauseServer, rebootServer, stopServer, suspendServer } from '../../src/moves/power.ts';
import { rebuildServer } from '../../src/moves/rebuild-server.ts';
import { migrateServer, resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { shelveServer } from '../../src/moves/shelve.ts';
import { volumeBackedServer } from './volumes.ts';
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
} from './world.ts';

/** Where the guest is changed for the first time. */
const AT = new Set(['turn off', 'pause guest', 'keep memory', 'stop source']);

type Request = (world: World, id: string) => Promise<Refusal | null>;

const REQUESTS: Readonly<Record<string, Request>> = {
  stop: (world, id) => stopServer(world.p, world.user, id),
  reboot: (world, id) => rebootServer(world.p, world.user, id, 'HARD'),
  pause: (world, id) => pauseServer(world.p, world.user, id),
  suspend: (world, id) => suspendServer(world.p, world.user, id),
  shelve: (world, id) => shelveServer(world.p, world.user, id),
  rebuild: (world, id) => rebuildServer(world.p, world.user, id, { imageId: world.imageId, reimages: true }),
  resize: (world, id) => resizeServer(world.p, world.user, id, { flavorId: FLAVORS.big }),
};

/** The host dies at the first such step: its guests do not run any more, and it answers nobody. */
function dieAt(world: World, host: string, isThere: (definition: string, step: string) => boolean): void {
  const platform = world.p as { -readonly [K in keyof Platform]: Platform[K] };
  let died = false;
  platform.around = async (row, step, _direction, effect) => {
    if (!died && isThere(row.definition, step)) {
      died = true;
      await hostOf(world, host).reboot();
      hostOf(world, host).down();
    }
    return effect();
  };
}

/** Somebody says that the host is dead, and the server is built anew; its data are all on storage hosts. */
async function assertSaved(world: World, id: string, dead: string): Promise<void> {
  await accept(world, updateService(world.p, dead, { forcedDown: true }));
  await accept(world, evacuateServer(world.p, world.admin, id, { host: null, staysOff: false }));
  await settle(world);
  const server = await serverOf(world, id);
  assert.equal(server.vmState, 'active');
  assert.notEqual(server.host, dead);
  assert.deepEqual(runningOn(world, id), [server.host]);
}

/** The host is back after all: nothing is left there, and nothing owed. */
async function assertCleanedUp(world: World, dead: string): Promise<void> {
  hostOf(world, dead).up();
  await accept(world, updateService(world.p, dead, { forcedDown: false }));
  for (let round = 0; round < 7; round += 1) {
    await world.clock.pass(11_000);
    await beat(world, round);
    await settle(world);
  }
  assert.deepEqual(await openDebts(world.p), []);
  await assertSound(world);
}

for (const [what, request] of Object.entries(REQUESTS)) {
  test(`${what} on a host that dies: it ends, and the server is evacuated`, () =>
    withWorld(async (world) => {
      const { serverId } = await volumeBackedServer(world, FLAVORS.plain);
      const { host } = await serverOf(world, serverId);
      assert(host !== null);
      dieAt(world, host, (_move, step) => AT.has(step));
      await accept(world, request(world, serverId));
      await settle(world);
      assert.notDeepEqual(await openDebts(world.p), []);
      assert.equal((await serverOf(world, serverId)).taskState, null);
      await assertSaved(world, serverId, host);
      await assertCleanedUp(world, host);
    }));
}

test('a target that dies behind the pivot: the move ends, is confirmed, and the server evacuated', () =>
  withWorld(async (world) => {
    const { serverId } = await volumeBackedServer(world, FLAVORS.plain);
    dieAt(world, 'cell2-a', (move, step) => move === 'resize' && step === 'keep target');
    await accept(world, migrateServer(world.p, world.admin, serverId, { host: 'cell2-a' }));
    await settle(world);
    const { vmState, host } = await serverOf(world, serverId);
    assert.deepEqual([vmState, host], ['resized', 'cell2-a']);
    assert.equal((await refuse(world, confirmResize(world.p, world.user, serverId))).code, 409);
    await accept(world, updateService(world.p, 'cell2-a', { forcedDown: true }));
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
    await assertSaved(world, serverId, 'cell2-a');
    await assertCleanedUp(world, 'cell2-a');
  }));

test('a source that dies while a resize waits: confirmed when an administrator has forced it down', () =>
  withWorld(async (world) => {
    const { serverId } = await volumeBackedServer(world, FLAVORS.plain);
    const source = (await serverOf(world, serverId)).host ?? '';
    await accept(world, migrateServer(world.p, world.admin, serverId, { host: 'cell2-a' }));
    await settle(world);
    hostOf(world, source).down();
    for (let round = 0; round < 8; round += 1) {
      await world.clock.pass(5_000);
      await beat(world);
    }
    assert.equal((await refuse(world, confirmResize(world.p, world.user, serverId))).code, 409);
    await accept(world, updateService(world.p, source, { forcedDown: true }));
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'active');
    assert.deepEqual(
      (await openDebts(world.p))?.map(({ kind, host }) => [kind, host]),
      [['destroy-guest', source]],
    );
    await assertCleanedUp(world, source);
  }));

for (const root of ['image', 'volume'] as const) {
  test(`a target that dies while a resize waits: the ${root} of before is gone back to`, () =>
    withWorld(
      async (world) => {
        const serverId =
          root === 'image'
            ? await newServer(world, FLAVORS.plain)
            : (await volumeBackedServer(world, FLAVORS.plain)).serverId;
        const source = (await serverOf(world, serverId)).host ?? '';
        const disk = hostOf(world, source).hypervisor.diskWords(serverId);
        await accept(world, migrateServer(world.p, world.admin, serverId, { host: 'cell2-a' }));
        await settle(world);
        await hostOf(world, 'cell2-a').reboot();
        hostOf(world, 'cell2-a').down();
        // Forced down at once: whatever is said of it, it may answer a moment later.
        await accept(world, updateService(world.p, 'cell2-a', { forcedDown: true }));
        assert.equal((await refuse(world, revertResize(world.p, world.user, serverId))).code, 409);
        for (let round = 0; round < 40; round += 1) {
          await world.clock.pass(5_000);
          await beat(world);
        }
        // Its window is over, but nobody has asked for that disk to go.
        assert.equal((await serverOf(world, serverId)).vmState, 'resized');
        await accept(world, revertResize(world.p, world.user, serverId));
        await settle(world);
        const server = await serverOf(world, serverId);
        assert.deepEqual([server.vmState, server.host, runningOn(world, serverId)], ['active', source, [source]]);
        assert.deepEqual(hostOf(world, source).hypervisor.diskWords(serverId)?.slice(0, disk?.length) ?? null, disk);
        await assertCleanedUp(world, 'cell2-a');
      },
      { resizeConfirmWindowSeconds: 60 },
    ));
}
