// Defects of the original's cross-cell resize that users and operators see, one test each under its number (see
// docs/nova-defects.md): shown not to be ours.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { migrationRoutes } from '../../../src/api/compute/migrations.ts';
import { buildApp } from '../../../src/api/http/app.ts';
import { createFlavor } from '../../../src/control/flavors.ts';
import { quotaOf, setQuota } from '../../../src/control/quota.ts';
import { lockServer, resetState } from '../../../src/control/server-marks.ts';
import { editServer, findServer, serverActions } from '../../../src/control/servers.ts';
import { apiStatus } from '../../../src/model/states.ts';
import type { Principal } from '../../../src/model/types.ts';
import { confirmOverdue, confirmResize } from '../../../src/moves/confirm.ts';
import { deleteServer } from '../../../src/moves/delete.ts';
import { stopServer } from '../../../src/moves/power.ts';
import { migrateServer, resizeServer } from '../../../src/moves/resize.ts';
import { revertResize } from '../../../src/moves/revert.ts';
import {
  accept,
  beat,
  FLAVORS,
  homeOf,
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
} from '../world.ts';
import { snapshotOf } from '../world-snapshot.ts';

const inWorld = (name: string, body: (world: World) => Promise<void>, settings = {}) =>
  test(name, () => withSoundWorld(body, settings));

const resize = (world: World, id: string, flavorId: string = FLAVORS.big) =>
  resizeServer(world.p, world.user, id, { flavorId });

async function resized(world: World): Promise<string> {
  const id = await newServer(world);
  await accept(world, resize(world, id));
  await settle(world);
  return id;
}

async function status(world: World, id: string): Promise<string> {
  const { vmState, taskState } = await serverOf(world, id);
  return apiStatus(vmState, taskState);
}

inWorld('L-08: a disk that has grown is not shrunk: refused before anything is touched', async (world) => {
  const id = await resized(world);
  await accept(world, confirmResize(world.p, world.user, id));
  await settle(world);
  const before = await snapshotOf(world);
  assert.equal((await refuse(world, resize(world, id, FLAVORS.small))).code, 400);
  assert.deepEqual(await snapshotOf(world), before);
});

inWorld('L-09: D14: a flavor with a local disk that would not travel is refused', async (world) => {
  const id = await newServer(world);
  const made = await createFlavor(world.p, {
    ...{
      flavorId: 'swap',
      name: 'swap',
      vcpus: 1,
      memoryMb: 512,
      rootGb: 4,
      ephemeralGb: 1,
      swapMb: 64,
      rxtxFactor: 1,
    },
    ...{ isPublic: true, description: null, extraSpecs: {} },
  });
  assert.notEqual(made.kind, 'refused');
  assert.equal((await refuse(world, resize(world, id, 'swap'))).code, 400);
});

inWorld(
  'L-12: while a revert goes on the status is REVERT_RESIZE, until the guest runs at its source',
  async (world) => {
    const id = await resized(world);
    await accept(world, revertResize(world.p, world.user, id));
    const worker = new Worker(world);
    for (let n = 0; n < 200; n += 1) {
      const now = await status(world, id);
      if (now === 'ACTIVE') {
        assert.deepEqual(runningOn(world, id), [(await serverOf(world, id)).host]);
        return settle(world);
      }
      assert.equal(now, 'REVERT_RESIZE');
      await worker.step();
    }
    assert.fail('the revert does not end');
  },
);

inWorld('L-13: a delete at any moment of a revert ends with nothing left anywhere', async (world) => {
  for (let operations = 0; operations < 60; operations += 6) {
    const id = await resized(world);
    await accept(world, revertResize(world.p, world.user, id));
    const worker = new Worker(world);
    for (let n = 0; n < operations; n += 1) await worker.step();
    await accept(world, deleteServer(world.p, world.user, id));
    await settle(world);
    assert.equal((await findServer(world.p, id)).kind, 'absent');
    assert.deepEqual(runningOn(world, id), []);
  }
});

for (const which of ['source', 'target'] as const) {
  inWorld(`L-14: a revert whose ${which} is down is refused, and the server is as it was`, async (world) => {
    const id = await newServer(world);
    const source = (await serverOf(world, id)).host;
    await accept(world, resize(world, id));
    await settle(world);
    const target = (await serverOf(world, id)).host;
    const dead = hostOf(world, which === 'source' ? source : target);
    dead.down();
    for (let round = 0; round < 8; round += 1) {
      await world.clock.pass(5_000);
      await beat(world);
    }
    const { code, message } = await refuse(world, revertResize(world.p, world.user, id));
    assert.deepEqual([code, message], [409, 'Service is unavailable at this time.']);
    assert.deepEqual(runningOn(world, id), [target]);
    dead.up();
    await beat(world);
  });
}

inWorld('L-16: nobody says that a server is active or in error while a resize waits', async (world) => {
  const id = await resized(world);
  const before = await snapshotOf(world);
  for (const state of ['active', 'error'] as const) {
    const refusal = await refuse(world, resetState(world.p, world.admin, id, state));
    assert.equal(refusal.code, 409);
    assert.match(refusal.message, /Cannot 'resetState' .* while it is in vm_state resized/);
  }
  assert.deepEqual(await snapshotOf(world), before);
});

inWorld('L-11: what users change in VERIFY_RESIZE survives the revert', async (world) => {
  const id = await resized(world);
  const change = { name: 'renamed', description: 'seen', tags: ['late'], metadata: { late: 'yes' } };
  assert.equal(await editServer(world.p, id, change), null);
  assert.equal(await lockServer(world.p, world.user, id, 'mine'), null);
  await accept(world, revertResize(world.p, world.admin, id));
  await settle(world);
  const { name, description, tags, metadata, lockedBy, lockedReason } = await serverOf(world, id);
  assert.deepEqual({ name, description, tags, metadata }, change);
  assert.deepEqual([lockedBy, lockedReason], ['owner', 'mine']);
});

inWorld('L-17: one move is one migration, whatever its status and in whatever cell, in full pages', async (world) => {
  const waiting = [await resized(world), await resized(world)];
  const confirmed = await resized(world);
  await accept(world, confirmResize(world.p, world.user, confirmed));
  await settle(world);
  const operator: Principal = { userId: 'operator', projectId: 'operators', roles: ['admin'] };
  const tokens = { principalOf: async () => operator };
  const app = await buildApp({ platform: world.p, tokens, routes: migrationRoutes, checkAnswers: true });
  const get = async (path: string, microversion: string) => {
    const headers = { 'x-auth-token': 'any', 'openstack-api-version': `compute ${microversion}` };
    const answer = await app.inject({ method: 'GET', url: `/compute/v2.1/os-migrations${path}`, headers });
    return answer.json() as { migrations: { instance_uuid: string }[]; migrations_links?: { href: string }[] };
  };
  const servers = async (path: string, microversion: string) =>
    (await get(path, microversion)).migrations.map((each) => each.instance_uuid);
  try {
    const newestFirst = [confirmed, ...waiting.toReversed()];
    for (const microversion of ['2.1', '2.23', '2.59', '2.80'])
      assert.deepEqual(await servers('', microversion), newestFirst);
    assert.deepEqual(await servers('?status=finished', '2.1'), waiting.toReversed());
    assert.deepEqual(await servers('?status=confirmed', '2.1'), [confirmed]);
    for (const status of ['post-migrating', 'reverted'])
      assert.deepEqual(await servers(`?status=${status}`, '2.1'), []);
    const page = await get('?limit=2', '2.59');
    assert.deepEqual(
      page.migrations.map((each) => each.instance_uuid),
      newestFirst.slice(0, 2),
    );
    const { search } = new URL(page.migrations_links?.[0]?.href ?? '');
    const last = await get(search, '2.59');
    assert.deepEqual(
      last.migrations.map((each) => each.instance_uuid),
      newestFirst.slice(2),
    );
    assert.equal(last.migrations_links, undefined);
  } finally {
    await app.close();
  }
});

inWorld(
  'L-18: every action and event is complete, wherever the server has been, also after a revert',
  async (world) => {
    const id = await resized(world);
    await editServer(world.p, id, { name: 'renamed' });
    await accept(world, revertResize(world.p, world.user, id));
    await settle(world);
    const actions = await serverActions(world.p, id);
    assert.deepEqual(actions.map((each) => each.action).toSorted(), ['create', 'resize', 'revertResize']);
    for (const action of actions) {
      assert.notEqual(action.finishedAt, null);
      assert.ok(action.events.length > 0 && action.events.every((event) => event.finishedAt !== null));
    }
    assert.equal((await serverOf(world, id)).name, 'renamed');
  },
);

inWorld('L-21: a server that was off is off after a move that failed', async (world) => {
  const id = await newServer(world);
  await accept(world, stopServer(world.p, world.user, id));
  await settle(world);
  for (const host of world.hosts.values()) {
    if (host.cell === 'cell2') host.trouble = (method) => (method === 'importDisk' ? 'unreachable' : 'none');
  }
  await accept(world, resize(world, id));
  await settle(world);
  assert.equal(await status(world, id), 'SHUTOFF');
  assert.deepEqual(runningOn(world, id), []);
  for (const host of world.hosts.values()) host.up();
  await beat(world);
});

inWorld('L-23: a revert is never over quota', async (world) => {
  const id = await newServer(world, FLAVORS.medium);
  await accept(world, resize(world, id));
  await settle(world);
  await setQuota(world.p, { projectId: world.user.projectId }, { cores: 1, ram: 1 });
  await accept(world, revertResize(world.p, world.user, id));
  await settle(world);
  assert.equal(await status(world, id), 'ACTIVE');
});

inWorld('L-24: the record in a server’s home names a host of that cell', async (world) => {
  const id = await resized(world);
  assert.equal(hostOf(world, (await serverOf(world, id)).host).cell, await homeOf(world, id));
});

inWorld(
  'D5: a resize is confirmed by itself when its window is over',
  async (world) => {
    const id = await resized(world);
    await world.clock.pass(61_000);
    await beat(world);
    await world.clock.drive(confirmOverdue(world.p));
    await settle(world);
    assert.equal(await status(world, id), 'ACTIVE');
  },
  { resizeConfirmWindowSeconds: 60 },
);

inWorld(
  'D9: D10: servers of a cell that is down count for the quota, and one that waits counts once',
  async (world) => {
    await resized(world);
    const used = async () => ({ ...(await quotaOf(world.p, world.user.projectId)).used });
    const before = await used();
    assert.equal(before.instances, 1);
    assert.equal(before.cores, 4);
    await setQuota(world.p, { projectId: world.user.projectId }, { instances: 1 });
    world.cellsDown.add('cell2');
    assert.deepEqual(await used(), before);
    await assert.rejects(requestServer(world, FLAVORS.plain), /Quota exceeded for instances/);
    world.cellsDown.clear();
  },
);

inWorld('D13: a move has the same events inside a cell and across cells', async (world) => {
  const inside = await newServer(world, FLAVORS.plain, 'inside');
  const across = await newServer(world, FLAVORS.plain, 'across');
  const events = async (id: string, sameCell: boolean) => {
    const home = await homeOf(world, id);
    const { host } = await serverOf(world, id);
    const to = [...world.hosts.values()].find((each) => (each.cell === home) === sameCell && each.name !== host);
    await accept(world, migrateServer(world.p, world.admin, id, { host: to?.name ?? '' }));
    await settle(world);
    const actions = await serverActions(world.p, id);
    return actions.find((each) => each.action === 'migrate')?.events.map((each) => each.event);
  };
  assert.deepEqual(await events(inside, true), await events(across, false));
});
