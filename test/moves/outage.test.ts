// A host or a cell's database falls silent in the middle of a move, for ten minutes, at every stage of it. When it is back,
// the server is as it was or where it should be, and nothing is left over anywhere.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findServer } from '../../src/control/servers.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import {
  accept,
  assertSound,
  auditWorld,
  beat,
  FLAVORS,
  newServer,
  openWorld,
  requestServer,
  runningOn,
  serverOf,
  settle,
  Worker,
  type World,
  work,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const OUTAGE_MS = 600_000;
/** Operations of the conductor after which it happens; a whole resize takes about 90. */
const MOMENTS = Array.from({ length: 31 }, (_, n) => n * 3);

type Silence = { readonly name: string; begin(world: World): void; end(world: World): void };

const hostsOf = (world: World, cell: string) => [...world.hosts.values()].filter((host) => host.cell === cell);

const SILENCES: readonly Silence[] = (['cell1', 'cell2'] as const).flatMap((cell) => [
  {
    name: `the hosts of ${cell}`,
    begin: (world) => {
      for (const host of hostsOf(world, cell)) host.down();
    },
    end: (world) => {
      for (const host of hostsOf(world, cell)) host.up();
    },
  },
  {
    name: `the database of ${cell}`,
    begin: (world) => void world.cellsDown.add(cell),
    end: (world) => void world.cellsDown.delete(cell),
  },
]);

async function during(start: (world: World) => Promise<string>, silence: Silence, operations: number, after: string[]) {
  const world = await openWorld();
  try {
    const serverId = await start(world);
    const before = await serverOf(world, serverId);
    const worker = new Worker(world);
    for (let count = 0; count < operations; count += 1) await worker.step();
    silence.begin(world);
    await work(world, OUTAGE_MS);
    silence.end(world);
    await beat(world);
    await settle(world);
    // What is owed is paid by now.
    await world.clock.pass(30_000);
    await beat(world);
    await beat(world);
    const server = await serverOf(world, serverId);
    assert.ok(after.includes(server.vmState), `${before.vmState} became ${server.vmState}`);
    assert.deepEqual(runningOn(world, serverId), [server.host]);
    await assertSound(world);
    const host = world.hosts.get(server.host ?? '');
    host?.hypervisor.diskWords(serverId)?.forEach((word, index) => {
      if (index > 0) assert.match(word, new RegExp(`^run ${index} on`), 'a run is missing on the disk');
    });
  } finally {
    await world.close();
  }
}

async function resizing(world: World): Promise<string> {
  const serverId = await newServer(world);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  return serverId;
}

async function reverting(world: World): Promise<string> {
  const serverId = await resizing(world);
  await settle(world);
  await accept(world, revertResize(world.p, world.user, serverId));
  return serverId;
}

for (const silence of SILENCES) {
  test(`${silence.name} fall silent during a resize`, async () => {
    for (const moment of MOMENTS) await during(resizing, silence, moment, ['active', 'resized']);
  });
  test(`${silence.name} fall silent during a revert`, async () => {
    for (const moment of MOMENTS.slice(0, 20)) await during(reverting, silence, moment, ['active', 'resized']);
  });
}

test('a resize that fails while its target cell is down leaves the world as it was', async () => {
  const world = await openWorld();
  try {
    const serverId = await newServer(world);
    const before = await snapshotOf(world);
    world.cellsDown.add('cell2');
    await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    await settle(world);
    const server = await serverOf(world, serverId);
    assert.equal(server.vmState, 'active');
    assert.deepEqual(runningOn(world, serverId), [server.host]);
    const report = await auditWorld(world);
    assert.deepEqual(
      report.owed.map((owed) => owed.what),
      [`record of server ${serverId} in cell cell2`],
    );
    world.cellsDown.delete('cell2');
    await world.clock.pass(11_000);
    await beat(world);
    assert.deepEqual(await snapshotOf(world), before);
    await assertSound(world);
  } finally {
    await world.close();
  }
});

test('a create whose cell goes down at once ends in ERROR when it is back, and can be deleted', async () => {
  const world = await openWorld();
  try {
    world.cellsDown.add('cell1');
    const serverId = await requestServer(world, FLAVORS.small);
    assert.equal((await findServer(world.p, serverId)).kind, 'down');
    assert.equal(await work(world, OUTAGE_MS), false);
    world.cellsDown.delete('cell1');
    await settle(world);
    assert.equal((await serverOf(world, serverId)).vmState, 'error');
    await assertSound(world);
    await accept(world, deleteServer(world.p, world.user, serverId));
    await settle(world);
    await assertSound(world);
  } finally {
    await world.close();
  }
});
