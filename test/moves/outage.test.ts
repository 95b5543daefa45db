// What is so while a cell's database is silent, and what is owed then. How moves end over which a host or a cell falls
// silent for an hour, at whatever step, is in the matrix (matrix/cells.ts).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findServer } from '../../src/control/servers.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import {
  accept,
  assertSound,
  auditWorld,
  beat,
  FLAVORS,
  newServer,
  requestServer,
  runningOn,
  serverOf,
  settle,
  withSoundWorld,
  work,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const OUTAGE_MS = 600_000;

test('a resize that fails while its target cell is down leaves the world as it was', () =>
  withSoundWorld(async (world) => {
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
  }));

test('a create whose cell goes down at once ends in ERROR when it is back, and can be deleted', () =>
  withSoundWorld(async (world) => {
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
  }));
