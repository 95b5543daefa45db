// Databases that fail after they were opened, on real files: whom that hurts, whom it does not, and that nobody has to
// start anything anew when they are mended.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { sql } from 'kysely';
import { buildApp } from '../../src/api/http/app.ts';
import { allRoutes } from '../../src/api/routes.ts';
import { listCells } from '../../src/control/cells.ts';
import { openDebts } from '../../src/control/debts.ts';
import { createIdentity } from '../../src/control/identity.ts';
import { moveEffects } from '../../src/moves/conductor.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import type { Effects } from '../../src/saga/driver.ts';
import { openStores } from '../../src/store/stores.ts';
import { damage, lastGood, mend, setWritable } from '../../src/store/test-damage.ts';
import {
  accept,
  activeSagas,
  assertSound,
  beat,
  FLAVORS,
  homeOf,
  newServer,
  openWorld,
  runningOn,
  serverOf,
  settle,
  Worker,
  type World,
  worldDatabases,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const onFiles = (name: string, body: (world: World, directory: string) => Promise<void>) =>
  test(name, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'crosscell-lost-'));
    const { open } = worldDatabases;
    worldDatabases.open = () => openStores(directory);
    const world = await openWorld({ maxAttempts: 1 }).finally(() => {
      worldDatabases.open = open;
    });
    try {
      await body(world, directory);
    } finally {
      await world.close();
      rmSync(directory, { recursive: true });
    }
  });

async function cellOf(world: World, directory: string, name: string) {
  const cells = await listCells(world.p);
  const id = cells.find((cell) => cell.name === name)?.id ?? '';
  return { db: await world.p.stores.cell(id), file: join(directory, 'cells', `${id}.sqlite`) };
}

const downCells = async (world: World) =>
  (await listCells(world.p)).flatMap((cell) => (cell.unreachableSince === null ? [] : [cell.name]));

/** Asks the API as the world's user. */
async function asker({ p, user, clock }: World) {
  const principal = { userId: user.userId, projectId: user.projectId, roles: [...user.roles] };
  const identity = createIdentity({ db: p.stores.global, key: Buffer.alloc(32, 1), clock, tokenLifetimeSeconds: 3600 });
  const routes = allRoutes({ identity, fleetSecret: 'fleet' });
  const app = await buildApp({ platform: p, tokens: { principalOf: async () => principal }, routes });
  const get = async (path: string) => {
    const answer = await clock.drive(
      app.inject({ method: 'GET', url: `/compute/v2.1${path}`, headers: { 'x-auth-token': 't' } }),
    );
    return { status: answer.statusCode, body: answer.json() };
  };
  return { get, close: () => app.close() };
}

onFiles(
  'a database that is damaged while it is open hurts nobody outside it, and is back when it is mended',
  async (world, directory) => {
    const lost = await newServer(world, FLAVORS.small);
    const { db, file } = await cellOf(world, directory, 'cell1');
    const api = await asker(world);
    await lastGood(db, file);
    await damage(db, file);

    assert.equal((await api.get(`/servers/${lost}`)).status, 503);
    const listed = await api.get('/servers');
    assert.deepEqual([listed.status, listed.body], [200, { servers: [] }]);
    await beat(world);
    assert.deepEqual(await downCells(world), ['cell1']);
    const plain = await newServer(world, FLAVORS.plain);
    assert.equal(await homeOf(world, plain), 'cell2');
    const ids = (await api.get('/servers')).body.servers.map((server: { id: string }) => server.id);
    assert.deepEqual(ids, [plain]);

    mend(file);
    await beat(world);
    assert.deepEqual(await downCells(world), []);
    assert.equal((await api.get(`/servers/${lost}`)).status, 200);
    await assertSound(world);

    const global = join(directory, 'global.sqlite');
    await lastGood(world.p.stores.global, global);
    await damage(world.p.stores.global, global);
    assert.equal((await api.get(`/servers/${lost}`)).status, 503);
    mend(global);
    assert.equal((await api.get(`/servers/${lost}`)).status, 200);
    await api.close();
  },
);

/** A conductor and the monitor work until no saga is active; before each `step` of the move something happens. */
async function workWith(
  world: World,
  step: string,
  before: (direction: 'do' | 'undo') => Promise<void>,
): Promise<void> {
  const { run, ...others } = moveEffects(world.p);
  const effects: Effects = {
    ...others,
    async run(row, at, direction) {
      if (at.name === step) await before(direction);
      return run(row, at, direction);
    },
  };
  const worker = new Worker(world, effects);
  while ((await worker.step()) !== 'idle' || (await activeSagas(world)).length > 0) {
    await world.clock.pass(100);
  }
}

onFiles(
  'a target cell that cannot be written any more keeps no server from going back on',
  async (world, directory) => {
    const serverId = await newServer(world, FLAVORS.small);
    const { db, file } = await cellOf(world, directory, 'cell2');
    const before = await snapshotOf(world);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    const began = world.clock.now();
    const seen: string[] = [];
    await workWith(world, 'copy records', async (direction) => {
      if (seen.length === 0) await setWritable(db, file, false);
      seen.push(direction);
    });
    assert.deepEqual(seen, ['do', 'do', 'do', 'do', 'undo', 'undo', 'undo', 'undo']);
    const server = await serverOf(world, serverId);
    assert.deepEqual([server.vmState, server.taskState, runningOn(world, serverId)], ['active', null, [server.host]]);
    assert.ok(world.clock.now() - began < 120_000, 'its way back took too long');
    const owed = (await openDebts(world.p)) ?? [];
    assert.deepEqual(
      owed.map((debt) => debt.kind),
      ['drop-records'],
    );
    await beat(world);
    assert.deepEqual(await downCells(world), ['cell2']);

    await setWritable(db, file, true);
    await world.clock.pass(11_000);
    await beat(world);
    assert.deepEqual(await downCells(world), []);
    assert.deepEqual(await openDebts(world.p), []);
    assert.deepEqual(await snapshotOf(world), before);
    await assertSound(world);
  },
);

test('whatever keeps the records of a move in the target cell, it is owed, and the server is back', async () => {
  const world = await openWorld({ maxAttempts: 1 });
  try {
    const serverId = await newServer(world, FLAVORS.small);
    const cell2 = (await listCells(world.p)).find((cell) => cell.name === 'cell2');
    const db = await world.p.stores.cell(cell2?.id ?? '');
    const before = await snapshotOf(world);
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await sql`create trigger broken before insert on server_fences begin select raise(abort, 'broken'); end`.execute(
      db,
    );
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'active');
    assert.deepEqual(runningOn(world, serverId), [(await serverOf(world, serverId)).host]);
    assert.equal((await openDebts(world.p))?.length, 1);
    await sql`drop trigger broken`.execute(db);
    await world.clock.pass(11_000);
    await beat(world);
    assert.deepEqual(await openDebts(world.p), []);
    assert.deepEqual(await snapshotOf(world), before);
  } finally {
    await world.close();
  }
});
