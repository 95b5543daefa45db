// A host that was chosen and does not do is given up for another one, within the budget; the reasons are kept.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failureOf } from '../../src/moves/failure.ts';
import { orderMove } from '../../src/moves/orders.ts';
import { migrateServer, resizeServer } from '../../src/moves/resize.ts';
import { listMoves } from '../../src/moves/view.ts';
import {
  accept,
  activeSagas,
  assertSound,
  FLAVORS,
  homeOf,
  hostOf,
  newServer,
  requestServer,
  runningOn,
  serverOf,
  settle,
  Worker,
  type World,
  withWorld,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

const lastMove = async (world: World, serverId: string) => {
  const moves = await listMoves(world.p, { serverId, limit: 10 });
  const move = moves.find((each) => each.move === 'resize');
  assert(move);
  return { move, card: await failureOf(world.p, move.id) };
};

/** The gold hosts, the only ones for the big flavor, in the order in which the scheduler tries them. */
const GOLD = ['cell2-a', 'cell2-b'] as const;

const resizeToBig = (world: World, serverId: string) =>
  accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));

for (const way of ['does not start the guest', 'is unreachable', 'refuses the guest'] as const) {
  test(`resize: a target that ${way} is given up for the next one`, () =>
    withWorld(async (world) => {
      const serverId = await newServer(world);
      await resizeToBig(world, serverId);
      const first = hostOf(world, GOLD[0]);
      if (way === 'does not start the guest') first.startFault = 'no KVM here';
      if (way === 'is unreachable') first.down();
      if (way === 'refuses the guest') {
        const { agent } = first;
        agent.define = async () => ({ kind: 'refused', reason: 'no room left' });
      }
      await settle(world);
      assert.equal((await serverOf(world, serverId)).vmState, 'resized');
      assert.deepEqual(runningOn(world, serverId), [GOLD[1]]);
      const { move, card } = await lastMove(world, serverId);
      assert.deepEqual([move.status, move.target?.host], ['done', GOLD[1]]);
      const step = way === 'does not start the guest' ? 'start target' : 'prepare target';
      assert.deepEqual(
        card?.tried.map(({ host, cell, reason }) => [host, cell, reason.startsWith(`${step}: `)]),
        [[GOLD[0], 'cell2', true]],
      );
      assert.equal(card.situation, 'passed');
      // A host that was away is told to forget what it may have; until then that is a debt, not a leak.
      first.up();
      await settle(world);
      await assertSound(world);
    }));
}

test('no alternate does: the server is as it was, and the reason names each host and filter', () =>
  withWorld(async (world) => {
    const serverId = await newServer(world);
    const before = await snapshotOf(world);
    for (const name of GOLD) hostOf(world, name).startFault = `${name} is broken`;
    await resizeToBig(world, serverId);
    await settle(world);
    assert.deepEqual(await snapshotOf(world), before);
    assert.deepEqual(runningOn(world, serverId), [(await serverOf(world, serverId)).host]);
    const { move, card } = await lastMove(world, serverId);
    assert.equal(move.status, 'unwound');
    for (const name of GOLD) assert.ok(move.reason?.includes(`${name} is broken`), move.reason ?? '');
    assert.match(move.reason ?? '', /No valid host was found.*IgnoreHosts 3.*AggregateInstanceExtraSpecsFilter 1/);
    assert.deepEqual(
      card?.tried.map((each) => each.host),
      [...GOLD],
    );
    assert.equal(card.failed?.step, 'choose target');
    await assertSound(world);
  }));

test('the budget is max_attempts: one is one', () =>
  withWorld(
    async (world) => {
      const serverId = await newServer(world);
      const before = await snapshotOf(world);
      hostOf(world, GOLD[0]).startFault = 'broken';
      await resizeToBig(world, serverId);
      await settle(world);
      assert.deepEqual(await snapshotOf(world), before);
      assert.equal((await lastMove(world, serverId)).card?.failed?.step, 'start target');
      await assertSound(world);
    },
    { maxAttempts: 1 },
  ));

test('a host that was asked for has no alternates', () =>
  withWorld(async (world) => {
    const serverId = await newServer(world, FLAVORS.plain);
    const before = await snapshotOf(world);
    const wanted = [...world.hosts.values()].find((host) => host.name !== runningOn(world, serverId)[0]);
    assert(wanted);
    wanted.startFault = 'broken';
    await accept(world, migrateServer(world.p, world.admin, serverId, { host: wanted.name }));
    await settle(world);
    assert.deepEqual(await snapshotOf(world), before);
    assert.match((await lastMove(world, serverId)).move.reason ?? '', /^start target: .*broken/);
    await assertSound(world);
  }));

test('the other host of the own cell is tried first, then those of other cells, each once', () =>
  withWorld(async (world) => {
    const serverId = await newServer(world, FLAVORS.plain);
    const home = await homeOf(world, serverId);
    const other = home === 'cell1' ? 'cell2' : 'cell1';
    const sibling = [...world.hosts.values()].find(
      (host) => host.cell === home && host.name !== runningOn(world, serverId)[0],
    );
    assert(sibling);
    const away = [...world.hosts.values()].filter((host) => host.cell === other);
    sibling.startFault = 'broken';
    for (const host of away) host.startFault = 'broken';
    await accept(world, migrateServer(world.p, world.admin, serverId, { host: null }));
    await settle(world);
    const { move, card } = await lastMove(world, serverId);
    assert.equal(move.status, 'unwound');
    assert.equal(card?.tried[0]?.host, sibling.name);
    assert.equal(new Set([...(card?.tried ?? []).map((each) => each.host), move.target?.host]).size, 3);
    await assertSound(world);
  }));

test('a cancel while it goes back to try another host turns it back for good', () =>
  withWorld(async (world) => {
    const serverId = await newServer(world);
    const before = await snapshotOf(world);
    hostOf(world, GOLD[0]).down();
    await resizeToBig(world, serverId);
    // Its undo waits for the host, which does not count as down yet.
    const worker = new Worker(world);
    let [saga] = await activeSagas(world);
    for (let n = 0; n < 500 && (saga?.direction !== 'undo' || saga.attempt === 0); n += 1) {
      await worker.step();
      [saga] = await activeSagas(world);
    }
    assert(saga?.direction === 'undo');
    assert.notEqual(saga.backTo, null);
    assert.equal((await failureOf(world.p, saga.id))?.situation.startsWith('turning-back-waits'), true);
    await accept(world, orderMove(world.p, world.admin, saga.id, { kind: 'cancel' }));
    hostOf(world, GOLD[0]).up();
    await settle(world);
    assert.deepEqual(await snapshotOf(world), before);
    await assertSound(world);
  }));

test('create: a host that cannot build is left for another one of the cell, as in Nova', () =>
  withWorld(async (world) => {
    const serverId = await requestServer(world, FLAVORS.big);
    hostOf(world, GOLD[0]).startFault = 'broken';
    await settle(world);
    const server = await serverOf(world, serverId);
    assert.deepEqual([server.vmState, server.host, server.fault], ['active', GOLD[1], null]);
    assert.deepEqual(runningOn(world, serverId), [GOLD[1]]);
    await assertSound(world);
  }));

test('create: a guest that was started by a host that is cut off before it can say so is off before another host starts one', () =>
  withWorld(async (world) => {
    const serverId = await requestServer(world, FLAVORS.big);
    const first = hostOf(world, GOLD[0]);
    const { agent } = first;
    const setPower = agent.setPower.bind(agent);
    agent.setPower = async (...call) => {
      await setPower(...call);
      first.down();
      agent.setPower = setPower;
      return { kind: 'unreachable', reason: 'no route to host' };
    };
    await settle(world);
    assert.equal((await serverOf(world, serverId)).host, GOLD[1]);
    assert.deepEqual(runningOn(world, serverId), [GOLD[1]]);
    assert.deepEqual(world.fabric.ranTwice, []);
    first.up();
    await settle(world);
    await assertSound(world);
  }));

for (const [how, reply] of [
  ['is silent', { kind: 'unreachable', reason: 'timeout' }],
  ['cannot read its disk', { kind: 'refused', reason: 'the file is broken' }],
] as const) {
  test(`a source that ${how} while digests are compared is told, and no other target is tried for it`, () =>
    withWorld(async (world) => {
      const serverId = await newServer(world);
      const before = await snapshotOf(world);
      const source = hostOf(world, (await serverOf(world, serverId)).host);
      source.agent.digest = async () => reply;
      await resizeToBig(world, serverId);
      await settle(world);
      assert.deepEqual(await snapshotOf(world), before);
      const { card } = await lastMove(world, serverId);
      assert.deepEqual(
        [card?.failed?.step, card?.failed?.host, card?.failed?.cell, card?.tried],
        ['compare digests', source.name, source.cell, []],
      );
    }));
}

test('create: when no host of the cell can build it, the server is in ERROR and says of each why', () =>
  withWorld(async (world) => {
    const serverId = await requestServer(world, FLAVORS.big);
    for (const name of GOLD) hostOf(world, name).startFault = `${name} is broken`;
    await settle(world);
    const server = await serverOf(world, serverId);
    assert.deepEqual([server.vmState, server.host], ['error', null]);
    for (const name of GOLD)
      assert.ok(server.fault?.details?.includes(`${name} is broken`), server.fault?.details ?? '');
    assert.deepEqual(runningOn(world, serverId), []);
    await assertSound(world);
  }));
