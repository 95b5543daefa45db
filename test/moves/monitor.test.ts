// The monitor while something is slow or wrong: who answers counts as up, and gets its turn.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostIsUp } from '../../src/control/hosts.ts';
import { findServer } from '../../src/control/servers.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { newId } from '../../src/lib/ids.ts';
import { confirmOverdue } from '../../src/moves/confirm.ts';
import { startRequestedDeletes } from '../../src/moves/delete.ts';
import { startMonitor } from '../../src/moves/monitor.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { reclaimSoftDeleted, softDeleteServer } from '../../src/moves/soft-delete.ts';
import { CellDown } from '../../src/store/stores.ts';
import { accept, beat, FLAVORS, newServer, openWorld, serverOf, settle, type World } from './world.ts';

const cellOf = async (world: World, name: string): Promise<string> =>
  (await world.p.stores.global.selectFrom('cells').select('id').where('name', '=', name).executeTakeFirstOrThrow()).id;

/** The machine of the cell's database stands still: whoever asks it hears nothing for as long as a connection may take. */
async function freeze(world: World, cellId: string): Promise<void> {
  const { stores } = world.p;
  const cell = stores.cell.bind(stores);
  stores.cell = async (id) => {
    if (id !== cellId) return cell(id);
    await world.clock.sleep(5_000);
    throw new CellDown(id, new Error('connect timeout'));
  };
}

/** Wishes to delete servers of the cell, which nobody can grant while its database is silent. */
async function wishDeletes(world: World, cellId: string, like: string, count: number): Promise<void> {
  const db = world.p.stores.global;
  const row = await db
    .selectFrom('server_mappings')
    .selectAll()
    .where('server_id', '=', like)
    .executeTakeFirstOrThrow();
  const wish = () => ({ ...row, server_id: newId(), cell_id: cellId, delete_requested_at: 1 });
  await db
    .insertInto('server_mappings')
    .values(Array.from({ length: count }, wish))
    .execute();
}

/** The monitor runs for so long; tells how old the host's last heartbeat has been at most, at the end of each second, ms. */
async function agesOfHeartbeat(world: World, host: string, seconds: number): Promise<number[]> {
  const monitor = startMonitor(world.p);
  const ages: number[] = [];
  for (let second = 0; second < seconds; second += 1) {
    await world.clock.pass(1_000);
    const known = world.p.stores.global.selectFrom('hosts').select('last_seen_at').where('name', '=', host);
    ages.push(world.clock.now() - ((await known.executeTakeFirstOrThrow()).last_seen_at ?? 0));
  }
  await world.clock.drive(monitor.stop());
  return ages;
}

test('a cell whose database is silent makes no host of another count as down', async () => {
  const world = await openWorld();
  const silent = await cellOf(world, 'cell2');
  await wishDeletes(world, silent, await newServer(world), 60);
  await freeze(world, silent);
  const { heartbeatSeconds } = world.p.settings;
  assert.ok(Math.max(...(await agesOfHeartbeat(world, 'cell1-a', 90))) <= heartbeatSeconds * 1000);
  await world.close();
});

test('a site that is dead makes no host elsewhere count as down, and holds it up only once', async () => {
  const world = await openWorld();
  const db = world.p.stores.global;
  const like = await db.selectFrom('hosts').selectAll().where('name', '=', 'cell1-a').executeTakeFirstOrThrow();
  const dead = new Set(Array.from({ length: 150 }, (_, n) => `a${n}`));
  for (const name of dead)
    await db
      .insertInto('hosts')
      .values({ ...like, id: newId(), name })
      .execute();
  const { host } = world.p;
  const heartbeat = async () => {
    await world.clock.sleep(10_000);
    return { kind: 'unreachable', reason: 'no answer' };
  };
  Object.assign(world.p, { host: async (name: string) => (dead.has(name) ? { heartbeat } : host(name)) });
  const { heartbeatSeconds, hostDownSeconds } = world.p.settings;
  const ages = await agesOfHeartbeat(world, 'cell2-a', 90);
  assert.ok(Math.max(...ages) < hostDownSeconds * 1000, ages.join());
  assert.ok(Math.max(...ages.slice(40)) <= heartbeatSeconds * 1000, ages.join());
  assert.equal(await hostIsUp(world.p, 'a1'), false);
  await world.close();
});

test('deletes that cannot start keep no other from starting, also where all servers of a cell are waited for', async () => {
  const world = await openWorld();
  const serverId = await newServer(world);
  const db = world.p.stores.global;
  const home = await cellOf(world, 'cell1');
  const silent = await cellOf(world, 'cell2');
  // Nobody finds their records: half of them for they are not there, half for their cell does not answer.
  await wishDeletes(world, home, serverId, 60);
  await wishDeletes(world, silent, serverId, 60);
  await freeze(world, silent);
  await db.updateTable('server_mappings').set({ delete_requested_at: 2 }).where('server_id', '=', serverId).execute();
  const began = world.clock.now();
  for (let round = 0; round < 3; round += 1) await world.clock.drive(startRequestedDeletes(world.p));
  assert.equal((await serverOf(world, serverId)).taskState, 'deleting');
  assert.ok(world.clock.now() - began < 60_000, 'a silent cell is not asked once for each of its servers');
  await world.close();
});

test('a clock that was put forward confirms no resize and reclaims no server', async () => {
  const world = await openWorld({ resizeConfirmWindowSeconds: 600, reclaimInstanceIntervalSeconds: 600 });
  const [resized, deleted] = [await newServer(world), await newServer(world)];
  await accept(world, resizeServer(world.p, world.user, resized, { flavorId: FLAVORS.big }));
  await accept(world, softDeleteServer(world.p, world.user, deleted));
  await settle(world);
  const clock: Clock = {
    now: () => world.clock.now() + 3_600_000,
    sleep: (ms, signal) => world.clock.sleep(ms, signal),
    steadySince: () => world.clock.now() + 3_600_000,
  };
  const p = { ...world.p, clock };
  await world.clock.drive(confirmOverdue(p));
  await world.clock.drive(reclaimSoftDeleted(p));
  await settle(world);
  assert.equal((await serverOf(world, resized)).vmState, 'resized');
  assert.equal((await serverOf(world, deleted)).vmState, 'soft-delete');
  // Now it is as late as that.
  await world.clock.pass(3_600_000);
  await beat(world);
  await settle(world);
  assert.equal((await serverOf(world, resized)).vmState, 'active');
  assert.equal((await findServer(world.p, deleted)).kind, 'absent');
  await world.close();
});
