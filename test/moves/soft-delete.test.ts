// Soft delete: what is kept, what a restore gives back, and what meets a soft delete on its way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quotaOf, setQuota } from '../../src/control/quota.ts';
import { findServer, serverActions } from '../../src/control/servers.ts';
import { POWER_STATE } from '../../src/model/types.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { pauseServer, startServer, stopServer } from '../../src/moves/power.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { reclaimSoftDeleted, restoreServer, softDeleteServer } from '../../src/moves/soft-delete.ts';
import { attach, newVolume } from './volumes.ts';
import {
  accept,
  assertSound,
  beat,
  FLAVORS,
  hostOf,
  newServer,
  refuse,
  requestServer,
  runningOn,
  serverOf,
  settle,
  Worker,
  type World,
  withSoundWorld,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const INTERVAL_S = 3600;

const inWorld = (name: string, body: (world: World, serverId: string) => Promise<void>, interval = INTERVAL_S) =>
  test(name, () =>
    withSoundWorld(
      async (world) => {
        const serverId = await newServer(world);
        await body(world, serverId);
      },
      { reclaimInstanceIntervalSeconds: interval },
    ),
  );

const softDelete = async (world: World, serverId: string): Promise<void> => {
  await accept(world, softDeleteServer(world.p, world.user, serverId));
  await settle(world);
};
const restore = async (world: World, serverId: string): Promise<void> => {
  await accept(world, restoreServer(world.p, world.user, serverId));
  await settle(world);
};
const statesOf = async (world: World, serverId: string) => {
  const { vmState, powerState } = await serverOf(world, serverId);
  return [vmState, powerState];
};
/** What was done to it, by name. */
const actionsOf = async (world: World, serverId: string): Promise<string[]> =>
  (await serverActions(world.p, serverId)).map(({ action }) => action).toSorted();
const SOFT_DELETED = ['soft-delete', POWER_STATE.SHUTDOWN];

inWorld('a soft-deleted server is off and keeps all it has; a restore gives it back as it was', async (world, id) => {
  await attach(world, id, await newVolume(world));
  const before = await snapshotOf(world);
  await softDelete(world, id);
  assert.deepEqual(await statesOf(world, id), SOFT_DELETED);
  assert.deepEqual(runningOn(world, id), []);
  await assertSound(world);
  await restore(world, id);
  assert.deepEqual(await snapshotOf(world), before);
  assert.deepEqual(await actionsOf(world, id), ['attach_volume', 'create', 'restore', 'softDelete']);
});

inWorld('a stopped server is restored stopped, a paused one runs', async (world, id) => {
  await accept(world, stopServer(world.p, world.user, id));
  await settle(world);
  await softDelete(world, id);
  await restore(world, id);
  assert.deepEqual(await statesOf(world, id), ['stopped', POWER_STATE.SHUTDOWN]);
  await accept(world, startServer(world.p, world.user, id));
  await settle(world);
  await accept(world, pauseServer(world.p, world.user, id));
  await settle(world);
  await softDelete(world, id);
  await restore(world, id);
  assert.deepEqual(await statesOf(world, id), ['active', POWER_STATE.RUNNING]);
});

inWorld('what Nova refuses is refused in its words', async (world, id) => {
  const { p, user } = world;
  assert.deepEqual(await refuse(world, restoreServer(p, user, id)), {
    code: 409,
    message: `Cannot 'restore' instance ${id} while it is in vm_state active`,
  });
  await softDelete(world, id);
  assert.match((await refuse(world, startServer(p, user, id))).message, /while it is in vm_state soft-delete/);
  assert.equal((await refuse(world, resizeServer(p, user, id, { flavorId: FLAVORS.big }))).code, 409);
  // Asked for again it stays what it is.
  await softDelete(world, id);
  assert.deepEqual(await statesOf(world, id), SOFT_DELETED);
});

inWorld('a soft-deleted server counts in no quota, and a restore asks for it again', async (world, id) => {
  const { p, user } = world;
  await softDelete(world, id);
  assert.deepEqual((await quotaOf(p, user.projectId)).used, { instances: 0, cores: 0, ram: 0 });
  await setQuota(p, { projectId: user.projectId }, { instances: 1 });
  const other = await newServer(world, FLAVORS.small, 'two');
  const refusal = await refuse(world, restoreServer(p, user, id));
  assert.deepEqual([refusal.code, /^Quota exceeded for instances/.test(refusal.message)], [403, true]);
  assert.deepEqual(await statesOf(world, id), SOFT_DELETED);
  await accept(world, deleteServer(p, user, other));
  await settle(world);
  await restore(world, id);
  assert.equal((await quotaOf(p, user.projectId)).used.instances, 1);
});

inWorld('a soft-deleted server is reclaimed when the interval is over, not before', async (world, id) => {
  await softDelete(world, id);
  await world.clock.pass((INTERVAL_S - 60) * 1000);
  await beat(world);
  assert.deepEqual(await statesOf(world, id), SOFT_DELETED);
  await world.clock.pass(61_000);
  await beat(world);
  await settle(world);
  assert.equal((await findServer(world.p, id)).kind, 'absent');
  assert.equal(await world.p.stores.global.selectFrom('ports').select('id').executeTakeFirst(), undefined);
});

inWorld(
  'a server that is being reclaimed is not restored, and one that is restored is not reclaimed',
  async (world, id) => {
    const { p, user } = world;
    await softDelete(world, id);
    await world.clock.pass(INTERVAL_S * 1000);
    await world.clock.drive(reclaimSoftDeleted(p));
    const refusal = await refuse(world, restoreServer(p, user, id));
    assert.deepEqual(refusal, {
      code: 409,
      message: `Cannot 'restore' instance ${id} while it is in task_state deleting`,
    });
    await settle(world);
    assert.equal((await findServer(p, id)).kind, 'absent');
    const other = await newServer(world);
    await softDelete(world, other);
    await world.clock.pass(INTERVAL_S * 1000);
    await accept(world, restoreServer(p, user, other));
    await world.clock.drive(reclaimSoftDeleted(p));
    await settle(world);
    assert.deepEqual(await statesOf(world, other), ['active', POWER_STATE.RUNNING]);
  },
);

inWorld(
  'without an interval what is soft-deleted stays',
  async (world, id) => {
    await softDelete(world, id);
    await world.clock.pass(365 * 24 * 3600 * 1000);
    await beat(world);
    assert.deepEqual(await statesOf(world, id), SOFT_DELETED);
  },
  0,
);

inWorld('forced, it is gone at once', async (world, id) => {
  await softDelete(world, id);
  await accept(world, deleteServer(world.p, world.user, id));
  await settle(world);
  assert.equal((await findServer(world.p, id)).kind, 'absent');
});

inWorld('a resize that waits is confirmed first, also when its source host is down', async (world, id) => {
  const source = hostOf(world, (await serverOf(world, id)).host);
  await accept(world, resizeServer(world.p, world.user, id, { flavorId: FLAVORS.big }));
  await settle(world);
  source.down();
  await world.clock.pass(60_000);
  await beat(world);
  await softDelete(world, id);
  const server = await serverOf(world, id);
  assert.deepEqual([server.vmState, server.flavor.flavorId, server.oldFlavor], ['soft-delete', FLAVORS.big, null]);
  assert.deepEqual(await actionsOf(world, id), ['confirmResize', 'create', 'resize', 'softDelete']);
  source.up();
  await world.clock.pass(11_000);
  await beat(world);
  await settle(world);
  await restore(world, id);
  assert.deepEqual(runningOn(world, id), [server.host]);
});

inWorld('asked for during a move it waits for its end: before the pivot the move turns back', async (world, id) => {
  const home = (await serverOf(world, id)).host;
  await accept(world, resizeServer(world.p, world.user, id, { flavorId: FLAVORS.big }));
  const worker = new Worker(world);
  for (let step = 0; step < 12; step += 1) await worker.step();
  await accept(world, softDeleteServer(world.p, world.user, id));
  const found = await findServer(world.p, id);
  assert.equal(found.kind === 'found' && found.softDeleteRequested, true);
  await settle(world);
  const server = await serverOf(world, id);
  assert.deepEqual([server.vmState, server.host], ['soft-delete', home]);
  await restore(world, id);
  assert.deepEqual(await statesOf(world, id), ['active', POWER_STATE.RUNNING]);
});

inWorld('on a host that is down it is soft-deleted all the same, and off when the host is back', async (world, id) => {
  const host = hostOf(world, (await serverOf(world, id)).host);
  host.down();
  await world.clock.pass(60_000);
  await beat(world);
  await softDelete(world, id);
  assert.deepEqual(await statesOf(world, id), SOFT_DELETED);
  assert.deepEqual(runningOn(world, id), [host.name]);
  host.up();
  await beat(world);
  await world.clock.pass(120_000);
  assert.deepEqual(runningOn(world, id), []);
});

inWorld('a server that never ran is deleted for good', async (world) => {
  const id = await requestServer(world, FLAVORS.small, 'two');
  await accept(world, softDeleteServer(world.p, world.user, id));
  await settle(world);
  assert.equal((await findServer(world.p, id)).kind, 'absent');
});

inWorld('a delete meets a restore: the restore turns back, and the server is deleted', async (world, id) => {
  await softDelete(world, id);
  await accept(world, restoreServer(world.p, world.user, id));
  await accept(world, deleteServer(world.p, world.user, id));
  await settle(world);
  assert.equal((await findServer(world.p, id)).kind, 'absent');
});
