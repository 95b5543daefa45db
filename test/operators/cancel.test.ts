// Cancel at every step of a resize and of a revert, in the worst moments: a conductor is about to have the step's effect
// and has it when everything else is over; or it has had it and died before it wrote that down. Before the pivot the world
// is then as it was; from the pivot on the cancel is refused and the move finishes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { orderMove } from '../../src/moves/orders.ts';
import { findMove } from '../../src/moves/registry.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { arm, Strike } from '../moves/matrix/faults.ts';
import {
  accept,
  activeSagas,
  beat,
  FLAVORS,
  newServer,
  serverOf,
  settle,
  Worker,
  type World,
  withSoundWorld,
} from '../moves/world.ts';
import { snapshotOf } from '../moves/world-snapshot.ts';

const MOST_OPERATIONS = 2000;

const resize = (world: World, serverId: string) =>
  accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));

const FIXTURES = {
  resize: { prepare: newServer, start: resize, after: 'resized' },
  revert: {
    async prepare(world: World) {
      const serverId = await newServer(world);
      await resize(world, serverId);
      await settle(world);
      return serverId;
    },
    start: (world: World, serverId: string) => accept(world, revertResize(world.p, world.user, serverId)),
    after: 'active',
  },
} as const;

/** A conductor works until the fault has struck. */
async function untilStruck(world: World, strike: Strike): Promise<void> {
  const worker = new Worker(world);
  for (let n = 0; n < MOST_OPERATIONS && !strike.struck; n += 1) {
    if ((await worker.step()) !== 'idle') continue;
    await world.clock.pass(1000);
    await beat(world);
  }
  assert.ok(strike.struck, 'the fault did not strike');
}

async function cancelAt(name: keyof typeof FIXTURES, step: string, fault: 'stale' | 'crash-after'): Promise<void> {
  const fixture = FIXTURES[name];
  await withSoundWorld(async (world) => {
    const serverId = await fixture.prepare(world);
    const before = await snapshotOf(world);
    await fixture.start(world, serverId);
    const strike = new Strike(world, { definition: name, step, direction: 'do' }, fault);
    arm(world, [strike]);
    await untilStruck(world, strike);
    const [saga] = await activeSagas(world);
    assert(saga);
    const refusal = await world.clock.drive(orderMove(world.p, world.admin, saga.id, { kind: 'cancel' }));
    const { definition } = findMove(name, 1);
    const passed = definition.steps.findIndex((each) => each.name === step) >= definition.pivot;
    assert.equal(refusal?.code ?? null, passed ? 409 : null);
    // Not by the lease running out: the order itself makes the saga free for the next conductor.
    await settle(world);
    await world.clock.drive(strike.wake());
    await settle(world);
    if (passed) assert.equal((await serverOf(world, serverId)).vmState, fixture.after);
    else assert.deepEqual(await snapshotOf(world), before);
  });
}

for (const name of ['resize', 'revert'] as const) {
  // The first step is taken by the request itself, before anybody could cancel.
  for (const { name: step } of findMove(name, 1).definition.steps.slice(1)) {
    test(`${name}: cancelled while a conductor stalls before '${step}', which then wakes`, () =>
      cancelAt(name, step, 'stale'));
    test(`${name}: cancelled when '${step}' has happened and its conductor died`, () =>
      cancelAt(name, step, 'crash-after'));
  }
}
