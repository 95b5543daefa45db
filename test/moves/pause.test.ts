// Paused servers: what they may do, what becomes of them with their host, and that they are deleted like any other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { POWER_STATE } from '../../src/model/types.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { pauseServer, rebootServer, startServer, stopServer, unpauseServer } from '../../src/moves/power.ts';
import { migrateServer, resizeServer } from '../../src/moves/resize.ts';
import {
  accept,
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
      await accept(world, pauseServer(world.p, world.user, serverId));
      await settle(world);
      await body(world, serverId);
    }),
  );

const standsStill = async (world: World, serverId: string) =>
  hostOf(world, (await serverOf(world, serverId)).host).hypervisor.paused(serverId);

inWorld(
  'a paused guest stands still and goes on; what Nova refuses is refused in its words',
  async (world, serverId) => {
    const server = await serverOf(world, serverId);
    assert.deepEqual([server.vmState, server.powerState], ['paused', POWER_STATE.PAUSED]);
    assert.equal(await standsStill(world, serverId), true);
    const { p, user } = world;
    for (const [word, refused] of [
      ['resize', () => resizeServer(p, user, serverId, { flavorId: FLAVORS.big })],
      ['migrate', () => migrateServer(p, world.admin, serverId, { host: null })],
      ['stop', () => stopServer(p, user, serverId)],
      ['start', () => startServer(p, user, serverId)],
      ['pause', () => pauseServer(p, user, serverId)],
      ['reboot', () => rebootServer(p, user, serverId, 'SOFT')],
    ] as const) {
      assert.deepEqual(await refuse(world, refused()), {
        code: 409,
        message: `Cannot '${word}' instance ${serverId} while it is in vm_state paused`,
      });
    }
    // The monitor finds nothing amiss.
    await beat(world, 0);
    assert.equal((await serverOf(world, serverId)).vmState, 'paused');
    await accept(world, unpauseServer(p, user, serverId));
    await settle(world);
    assert.deepEqual(
      [(await serverOf(world, serverId)).vmState, await standsStill(world, serverId)],
      ['active', false],
    );
    assert.equal((await refuse(world, unpauseServer(p, user, serverId))).code, 409);
  },
);

inWorld('a paused server is rebooted hard, and runs', async (world, serverId) => {
  await accept(world, rebootServer(world.p, world.user, serverId, 'HARD'));
  await settle(world);
  assert.deepEqual([(await serverOf(world, serverId)).vmState, await standsStill(world, serverId)], ['active', false]);
});

inWorld('a paused server is deleted', async (world, serverId) => {
  await accept(world, deleteServer(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual(runningOn(world, serverId), []);
});

inWorld('a paused server whose host restarts is off: its memory is lost', async (world, serverId) => {
  await hostOf(world, (await serverOf(world, serverId)).host).reboot();
  await beat(world, 0);
  await settle(world);
  const server = await serverOf(world, serverId);
  assert.deepEqual([server.vmState, server.powerState], ['stopped', POWER_STATE.SHUTDOWN]);
  await accept(world, startServer(world.p, world.user, serverId));
  await settle(world);
  assert.equal((await serverOf(world, serverId)).vmState, 'active');
});

inWorld('a paused server whose reboot turns back stands still again', async (world, serverId) => {
  const host = hostOf(world, (await serverOf(world, serverId)).host);
  let calls = 0;
  // It is turned off, and that is never told, as often as a step is tried.
  host.trouble = (method) => (method === 'setPower' && ++calls <= 4 ? 'lost' : 'none');
  await accept(world, rebootServer(world.p, world.user, serverId, 'HARD'));
  await settle(world);
  assert.ok(calls > 4);
  assert.deepEqual([(await serverOf(world, serverId)).vmState, await standsStill(world, serverId)], ['paused', true]);
});
