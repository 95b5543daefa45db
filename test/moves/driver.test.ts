// The real driver over the real moves: many servers and several conductor processes at once, on a virtual clock.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startConductor } from '../../src/moves/conductor.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { startMonitor } from '../../src/moves/monitor.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import {
  activeSagas,
  assertSound,
  FLAVORS,
  hostOf,
  LEASE_MS,
  openWorld,
  requestServer,
  serverOf,
  type World,
} from './world.ts';

const OPTIONS = { lanes: 4, leaseMs: LEASE_MS, idleMs: 200 };
const LIMIT_MS = 600_000;

/** Lets time pass until nothing is under way. */
async function rest(world: World): Promise<void> {
  const until = world.clock.now() + LIMIT_MS;
  while ((await activeSagas(world)).length > 0) {
    assert.ok(world.clock.now() < until, 'it does not come to rest');
    await world.clock.pass(100);
  }
}

test('eight servers are made, resized, and confirmed, reverted or deleted, by two conductors', async () => {
  const world = await openWorld();
  const conductors = ['one', 'two'].map((owner) => startConductor(world.p, { ...OPTIONS, owner }));
  const monitor = startMonitor(world.p);
  try {
    const ids: string[] = [];
    for (let n = 0; n < 4; n += 1) ids.push(await requestServer(world, FLAVORS.small, `server ${n}`));
    for (let n = 4; n < 8; n += 1) ids.push(await requestServer(world, FLAVORS.plain, `server ${n}`));
    await rest(world);
    const act = (what: (id: string, n: number) => Promise<unknown>) => world.clock.drive(Promise.all(ids.map(what)));
    const { p, user } = world;
    // Only some of them fit on the hosts that the flavor asks for; the others must be as they were.
    await act((id) => resizeServer(p, user, id, { flavorId: FLAVORS.big }));
    await rest(world);
    const states = await Promise.all(ids.map(async (id) => (await serverOf(world, id)).vmState));
    const count = (state: string): number => states.filter((each) => each === state).length;
    assert.ok(count('resized') > 0 && count('resized') + count('active') === 8, states.join());
    await act((id, n) =>
      n % 3 === 0 ? confirmResize(p, user, id) : n % 3 === 1 ? revertResize(p, user, id) : deleteServer(p, user, id),
    );
    await rest(world);
    await assertSound(world);
  } finally {
    await world.clock.drive(Promise.all([...conductors.map((each) => each.stop()), monitor.stop()]));
    await world.close();
  }
});

test('a conductor that is stopped leaves its sagas to the next, which finishes them', async () => {
  const world = await openWorld();
  const first = startConductor(world.p, { ...OPTIONS, owner: 'first' });
  try {
    const serverId = await requestServer(world, FLAVORS.small);
    await rest(world);
    await world.clock.drive(resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
    // It stops in the middle: the source does not answer just then.
    const source = hostOf(world, (await serverOf(world, serverId)).host);
    source.trouble = (method) => (method === 'openExport' ? 'unreachable' : 'none');
    await world.clock.pass(300);
    await world.clock.drive(first.stop());
    source.up();
    await world.clock.pass(60_000);
    assert.equal((await activeSagas(world)).length, 1);
    const monitor = startMonitor(world.p);
    const second = startConductor(world.p, { ...OPTIONS, owner: 'second' });
    await rest(world);
    await world.clock.drive(Promise.all([second.stop(), monitor.stop()]));
    assert.equal((await serverOf(world, serverId)).vmState, 'resized');
    await assertSound(world);
  } finally {
    await world.close();
  }
});
