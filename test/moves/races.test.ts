// Two things at once, and things that stand in each other's way: reading a server while its home changes, deleting one
// that something else cannot let go of, quotas that two requests want to use up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listMigrations } from '../../src/control/migrations.ts';
import { quotaOf, setQuota } from '../../src/control/quota.ts';
import { listServers } from '../../src/control/server-lists.ts';
import { findServer, serverActions } from '../../src/control/servers.ts';
import type { MigrationStatus } from '../../src/model/types.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { createServer } from '../../src/moves/create-server.ts';
import { deleteServer, startRequestedDeletes } from '../../src/moves/delete.ts';
import { rebootServer, startServer, stopServer } from '../../src/moves/power.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { shelveServer } from '../../src/moves/shelve.ts';
import { unshelveServer } from '../../src/moves/unshelve.ts';
import type { Stores } from '../../src/store/stores.ts';
import { arm, INJECTED, Strike } from './matrix/faults.ts';
import {
  accept,
  assertSound,
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
  withWorld,
  work,
} from './world.ts';

const inWorld = (name: string, body: (world: World) => Promise<void>) => test(name, () => withWorld(body));

/** Before a cell's database is next used, the server's move is brought to its end: its home changes in between. */
function moveInBetween(world: World): void {
  const stores = world.p.stores as { -readonly [K in keyof Stores]: Stores[K] };
  const open = stores.cell;
  stores.cell = async (cellId) => {
    stores.cell = open;
    await settle(world);
    return open(cellId);
  };
}

inWorld('a server is found while its home changes', async (world) => {
  const serverId = await newServer(world);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  moveInBetween(world);
  const found = await findServer(world.p, serverId);
  assert.equal(await homeOf(world, serverId), 'cell2');
  assert.equal(found.kind, 'found');
});

inWorld('a server is in the list while its home changes', async (world) => {
  const serverId = await newServer(world);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  moveInBetween(world);
  const { servers } = await listServers(world.p, { projectId: world.user.projectId });
  assert.equal(await homeOf(world, serverId), 'cell2');
  assert.deepEqual(
    servers.map((each) => each.id),
    [serverId],
  );
});

type Begin = (world: World) => Promise<string>;

const running: Begin = (world) => newServer(world);
const off: Begin = async (world) => {
  const serverId = await newServer(world);
  await accept(world, stopServer(world.p, world.user, serverId));
  await settle(world);
  return serverId;
};
const waiting: Begin = async (world) => {
  const serverId = await newServer(world);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  return serverId;
};

const WORK = [
  ['start', off, (world: World, id: string) => startServer(world.p, world.user, id)],
  ['stop', running, (world: World, id: string) => stopServer(world.p, world.user, id)],
  ['reboot', running, (world: World, id: string) => rebootServer(world.p, world.user, id, 'HARD')],
  ['resize', running, (world: World, id: string) => resizeServer(world.p, world.user, id, { flavorId: FLAVORS.big })],
  ['revert', waiting, (world: World, id: string) => revertResize(world.p, world.user, id)],
] as const;

for (const [what, begin, act] of WORK) {
  inWorld(`hosts that are gone for good during a ${what} do not keep a server from being deleted`, async (world) => {
    // At every stage of it, as far as conductors get without an answer.
    for (let operations = 2; operations <= 62; operations += 6) {
      const serverId = await begin(world);
      await accept(world, act(world, serverId));
      const worker = new Worker(world);
      for (let count = 0; count < operations; count += 1) await worker.step();
      for (const host of world.hosts.values()) host.down();
      await work(world, 600_000);
      if ((await findServer(world.p, serverId)).kind === 'found') {
        await accept(world, deleteServer(world.p, world.user, serverId));
        await work(world, 1_200_000);
      }
      assert.equal((await findServer(world.p, serverId)).kind, 'absent', `still there after ${operations} operations`);
      const { used } = await quotaOf(world.p, world.user.projectId);
      assert.deepEqual({ ...used }, { instances: 0, cores: 0, ram: 0 });
      for (const host of world.hosts.values()) host.up();
      await settle(world);
      for (let round = 0; round < 8; round += 1) {
        await world.clock.pass(5_000);
        await beat(world);
      }
      assert.deepEqual(runningOn(world, serverId), []);
      await assertSound(world);
    }
  });
}

inWorld('a revert to a host that is down is refused, and the server runs on where it is', async (world) => {
  const source = hostOf(world, (await serverOf(world, await newServer(world))).host);
  const serverId = (await listServers(world.p, { projectId: null })).servers[0]?.id ?? '';
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  source.down();
  for (let round = 0; round < 8; round += 1) {
    await world.clock.pass(5_000);
    await beat(world);
  }
  assert.equal((await refuse(world, revertResize(world.p, world.user, serverId))).code, 409);
  assert.deepEqual(runningOn(world, serverId), [(await serverOf(world, serverId)).host]);
  source.up();
  await beat(world);
  await accept(world, revertResize(world.p, world.user, serverId));
  await settle(world);
  assert.deepEqual(runningOn(world, serverId), [source.name]);
  await assertSound(world);
});

inWorld('a move that waits for its next try turns back at once when it is told to', async (world) => {
  const serverId = await newServer(world);
  const host = hostOf(world, (await serverOf(world, serverId)).host);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  // It cannot stop its source, tries again, and waits longer each time.
  host.trouble = (method) => (method === 'setPower' ? 'lost' : 'none');
  const worker = new Worker(world);
  const waits = async () =>
    (await world.p.stores.global.selectFrom('sagas').select('wake_at').where('status', '=', 'active').execute())[0]
      ?.wake_at ?? 0;
  for (let count = 0; count < 500 && (await waits()) <= world.clock.now(); count += 1) await worker.step();
  await accept(world, deleteServer(world.p, world.user, serverId));
  assert.ok((await waits()) <= world.clock.now());
  host.up();
  await settle(world);
  assert.equal((await findServer(world.p, serverId)).kind, 'absent');
});

inWorld('deletes that cannot start yet keep no other from starting', async (world) => {
  const serverId = await newServer(world);
  const { global } = world.p.stores;
  const mapping = await global.selectFrom('server_mappings').selectAll().executeTakeFirstOrThrow();
  const saga = await global.selectFrom('sagas').selectAll().executeTakeFirstOrThrow();
  for (let count = 0; count < 60; count += 1) {
    const id = `00000000-0000-4000-8000-${String(count).padStart(12, '0')}`;
    await global
      .insertInto('server_mappings')
      .values({ ...mapping, server_id: id, delete_requested_at: 1 })
      .execute();
    await global
      .insertInto('sagas')
      .values({ ...saga, id, key: id, status: 'stuck' })
      .execute();
  }
  await global
    .updateTable('server_mappings')
    .set({ delete_requested_at: 2 })
    .where('server_id', '=', serverId)
    .execute();
  await startRequestedDeletes(world.p);
  assert.equal((await serverOf(world, serverId)).taskState, 'deleting');
});

inWorld('T12: two resizes at once cannot both use the last of a quota', async (world) => {
  const ids = [await newServer(world, FLAVORS.small, 'one'), await newServer(world, FLAVORS.small, 'two')];
  await setQuota(world.p, { projectId: world.user.projectId }, { cores: 5 });
  for (const id of ids) await accept(world, resizeServer(world.p, world.user, id, { flavorId: FLAVORS.big }));
  await settle(world);
  const states = await Promise.all(ids.map(async (id) => (await serverOf(world, id)).vmState));
  assert.deepEqual(states.toSorted(), ['active', 'resized']);
  assert.equal((await quotaOf(world.p, world.user.projectId)).used.cores, 5);
  await assertSound(world);
});

inWorld('two servers that are unshelved at once cannot both use the last of a quota', async (world) => {
  const ids = [await newServer(world, FLAVORS.small, 'one'), await newServer(world, FLAVORS.small, 'two')];
  for (const id of ids) await accept(world, shelveServer(world.p, world.user, id));
  await settle(world);
  const [one = ''] = ids;
  const { vcpus } = (await serverOf(world, one)).flavor;
  await setQuota(world.p, { projectId: world.user.projectId }, { cores: vcpus });
  for (const id of ids) await accept(world, unshelveServer(world.p, world.user, id, {}));
  await settle(world);
  const states = await Promise.all(ids.map(async (id) => (await serverOf(world, id)).vmState));
  assert.deepEqual(states.toSorted(), ['active', 'shelved_offloaded']);
  assert.equal((await quotaOf(world.p, world.user.projectId)).used.cores, vcpus);
  await assertSound(world);
});

inWorld('a server that fits nowhere is written down in a cell that can be reached', async (world) => {
  world.cellsDown.add('cell1');
  const created = await world.clock.drive(
    createServer(world.p, world.user, {
      ...{ name: 'one', imageId: world.imageId, flavorId: FLAVORS.big, zone: 'nowhere', networkIds: [], keyName: null },
      ...{ metadata: {}, tags: [], description: null, diskConfig: 'AUTO' },
    }),
  );
  assert(created.kind === 'created');
  assert.equal((await serverOf(world, created.serverId)).vmState, 'error');
  assert.equal(await homeOf(world, created.serverId), 'cell2');
  world.cellsDown.clear();
  await requestServer(world, FLAVORS.small, 'two');
  await settle(world);
  await assertSound(world);
});

inWorld('a server with a long history crosses with all of it', async (world) => {
  const serverId = await newServer(world);
  const { host } = await serverOf(world, serverId);
  const home = await world.p.stores.global.selectFrom('hosts').select('cell_id').where('name', '=', host).execute();
  const cell = await world.p.stores.cell(home[0]?.cell_id ?? '');
  const action = await cell.selectFrom('server_actions').selectAll().executeTakeFirstOrThrow();
  for (let count = 0; count < 5_000; count += 1) {
    await cell
      .insertInto('server_actions')
      .values({ ...action, id: `action-${count}` })
      .execute();
  }
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  await settle(world);
  assert.equal(await homeOf(world, serverId), 'cell2');
  // Those, the create and the resize.
  assert.equal((await serverActions(world.p, serverId)).length, 5_002);
});

inWorld(
  'a request whose first step is refused is answered with why, not with a state that is the right one',
  async (world) => {
    const serverId = await newServer(world);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    const fault = { target: { definition: 'confirm', step: 'take hold', direction: 'do' }, fault: 'error' } as const;
    arm(world, [new Strike(world, fault.target, fault.fault)]);
    const refusal = await refuse(world, confirmResize(world.p, world.user, serverId));
    assert.deepEqual(refusal, { code: 409, message: `Cannot 'confirmResize' instance ${serverId}: ${INJECTED}` });
    await settle(world);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await settle(world);
    await assertSound(world);
  },
);

/** A conductor works until the server's move has this status. */
async function workUntil(world: World, serverId: string, status: MigrationStatus): Promise<void> {
  const worker = new Worker(world);
  const isThere = async () => (await listMigrations(world.p, { serverId, limit: 1 }))?.at(0)?.status === status;
  while (!(await isThere())) assert.notEqual(await worker.step(), 'idle');
}

for (const status of ['confirming', 'confirmed'] as const) {
  inWorld(`who comes when the resize is ${status} is told that it conflicts`, async (world) => {
    const serverId = await waiting(world);
    await accept(world, confirmResize(world.p, world.user, serverId));
    await workUntil(world, serverId, status);
    assert.equal((await serverOf(world, serverId)).vmState, 'resized');
    for (const [word, end] of [
      ['confirmResize', confirmResize],
      ['revertResize', revertResize],
    ] as const) {
      const { code, message } = await refuse(world, end(world.p, world.user, serverId));
      assert.equal(code, 409);
      assert.equal(message, `Cannot '${word}' instance ${serverId} while 'confirm' is under way`);
    }
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'active');
  });
}
