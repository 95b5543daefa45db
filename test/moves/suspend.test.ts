// Suspended servers: what they may do, that their memory outlives their host's restart, and that it is never used twice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetState } from '../../src/control/server-marks.ts';
import { POWER_STATE } from '../../src/model/types.ts';
import { attachVolume } from '../../src/moves/attach.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { rebootServer, startServer, stopServer, suspendServer, wakeServer } from '../../src/moves/power.ts';
import { migrateServer, resizeServer } from '../../src/moves/resize.ts';
import { attachWish, newVolume } from './volumes.ts';
import {
  accept,
  auditWorld,
  beat,
  FLAVORS,
  hostOf,
  newServer,
  refuse,
  runningOn,
  serverOf,
  settle,
  type World,
  withSoundWorld,
} from './world.ts';

const inWorld = (name: string, body: (world: World, serverId: string) => Promise<void>) =>
  test(name, () =>
    withSoundWorld(async (world) => {
      const serverId = await newServer(world);
      await accept(world, suspendServer(world.p, world.user, serverId));
      await settle(world);
      await body(world, serverId);
    }),
  );

const host = async (world: World, serverId: string) => hostOf(world, (await serverOf(world, serverId)).host);
/** How often the guest has booted. */
const boots = async (world: World, serverId: string) =>
  (await host(world, serverId)).hypervisor.diskWords(serverId)?.filter((word) => word.startsWith('run')).length;

inWorld('a suspended server goes on from where it was, also when its host has restarted', async (world, serverId) => {
  const server = await serverOf(world, serverId);
  assert.deepEqual([server.vmState, server.powerState], ['suspended', POWER_STATE.SHUTDOWN]);
  const { p, user } = world;
  for (const [word, refused] of [
    ['resize', () => resizeServer(p, user, serverId, { flavorId: FLAVORS.big })],
    ['migrate', () => migrateServer(p, world.admin, serverId, { host: null })],
    ['stop', () => stopServer(p, user, serverId)],
    ['start', () => startServer(p, user, serverId)],
    ['suspend', () => suspendServer(p, user, serverId)],
    ['reboot', () => rebootServer(p, user, serverId, 'SOFT')],
  ] as const) {
    assert.deepEqual(await refuse(world, refused()), {
      code: 409,
      message: `Cannot '${word}' instance ${serverId} while it is in vm_state suspended`,
    });
  }
  const volumeId = await newVolume(world);
  const wish = attachWish(volumeId);
  assert.equal((await world.clock.drive(attachVolume(p, user, serverId, wish))).kind, 'refused');
  await (await host(world, serverId)).reboot();
  await beat(world, 0);
  assert.equal((await serverOf(world, serverId)).vmState, 'suspended');
  await accept(world, wakeServer(p, user, serverId));
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'active');
  assert.equal(await boots(world, serverId), 1);
  assert.equal((await host(world, serverId)).hypervisor.paused(serverId), false);
});

inWorld('a suspended server is rebooted hard: it boots anew', async (world, serverId) => {
  await accept(world, rebootServer(world.p, world.user, serverId, 'HARD'));
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'active');
  assert.equal(await boots(world, serverId), 2);
});

inWorld('a suspended server that cannot be rebooted is suspended still, or off', async (world, serverId) => {
  const its = await host(world, serverId);
  its.startFault = 'no';
  await accept(world, rebootServer(world.p, world.user, serverId, 'HARD'));
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'stopped');
  its.startFault = null;
});

inWorld('a suspended server whose memory cannot be loaded stays suspended', async (world, serverId) => {
  const its = await host(world, serverId);
  its.startFault = 'no';
  await accept(world, wakeServer(world.p, world.user, serverId));
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'suspended');
  its.startFault = null;
  await accept(world, wakeServer(world.p, world.user, serverId));
  await settle(world);
  assert.equal(await boots(world, serverId), 1);
});

inWorld('a suspended server is deleted', async (world, serverId) => {
  await accept(world, deleteServer(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual(runningOn(world, serverId), []);
});

inWorld(
  'said to be active by hand it is off, and goes on from its memory when it is started',
  async (world, serverId) => {
    await accept(world, resetState(world.p, world.admin, serverId, 'active'));
    await beat(world, 0);
    assert.equal((await serverOf(world, serverId)).vmState, 'stopped');
    await accept(world, startServer(world.p, world.user, serverId));
    await settle(world);
    assert.equal(await boots(world, serverId), 1);
  },
);

inWorld('the audit misses memory that is lost', async (world, serverId) => {
  const its = await host(world, serverId);
  const { generation } = (await its.records.load())[0] ?? { generation: 0 };
  await its.agent.setPower(serverId, { generation, power: 'off', graceSeconds: 0 });
  await world.clock.pass(1000);
  assert.match(JSON.stringify(await auditWorld(world)), /had in memory is not kept/);
  await accept(world, rebootServer(world.p, world.user, serverId, 'HARD'));
  await settle(world);
});
