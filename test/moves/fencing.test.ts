// A conductor that was overtaken: whatever it still tries, at whatever party, is refused and changes nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { moveEffects } from '../../src/moves/conductor.ts';
import { findMove } from '../../src/moves/registry.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import type { Direction, Outcome, Row } from '../../src/saga/types.ts';
import { sagaOf, sqlSagaStore } from '../../src/store/sagas.ts';
import {
  accept,
  FLAVORS,
  LEASE_MS,
  newServer,
  settle,
  Worker,
  type World,
  withSoundWorld,
  withWorld,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

type Start = (world: World) => Promise<string>;

const resizing: Start = async (world) => {
  const serverId = await newServer(world);
  await accept(world, resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big }));
  return serverId;
};
const reverting: Start = async (world) => {
  const serverId = await resizing(world);
  await settle(world);
  await accept(world, revertResize(world.p, world.user, serverId));
  return serverId;
};

/** The saga when its conductor is about to have the effect of this step. */
async function upTo(world: World, serverId: string, step: string): Promise<Row> {
  let held: Row | null = null;
  const effects = moveEffects(world.p);
  const worker = new Worker(world, {
    ...effects,
    run: async (row, spec, direction) => {
      if (spec.name !== step) return effects.run(row, spec, direction);
      held = row;
      return { kind: 'fenced' };
    },
  });
  for (let count = 0; count < 1000 && held === null; count += 1) await worker.step();
  assert(held !== null, `${serverId} never came to ${step}`);
  return held;
}

/** Another conductor has claimed the saga and told the parties. */
async function takeOver(world: World): Promise<Row> {
  await world.clock.pass(LEASE_MS);
  const claim = await sqlSagaStore(world.p.stores.global, world.clock).claim('another', LEASE_MS);
  assert(claim?.takenOver);
  await world.clock.drive(moveEffects(world.p).raise(claim.row));
  return claim.row;
}

async function allOf(world: World): Promise<unknown> {
  const { global } = world.p.stores;
  const sagas = (await global.selectFrom('sagas').selectAll().execute()).map(sagaOf);
  const migrations = await global.selectFrom('migrations').selectAll().execute();
  const bindings = await global.selectFrom('port_bindings').selectAll().execute();
  return { world: await snapshotOf(world), sagas, migrations, bindings };
}

for (const [name, start] of [
  ['resize', resizing],
  ['revert', reverting],
] as const) {
  const { definition } = findMove(name, 1);
  // The first step is taken by the API's call.
  for (const { name: step } of definition.steps.slice(1)) {
    test(`${name}: who was overtaken at '${step}' can neither do nor undo it, nor record it`, () =>
      withSoundWorld(async (world) => {
        const serverId = await start(world);
        const old = await upTo(world, serverId, step);
        const now = await takeOver(world);
        const before = await allOf(world);
        const effects = moveEffects(world.p);
        const spec = definition.steps[old.cursor];
        assert(spec);
        for (const direction of ['do', 'undo'] as const satisfies readonly Direction[]) {
          const outcome: Outcome = await world.clock.drive(effects.run(old, spec, direction));
          // A step that has nothing to do may say so; it must not have done anything.
          if (outcome.kind !== 'fenced') assert.notEqual(outcome.kind, 'pending');
        }
        const store = sqlSagaStore(world.p.stores.global, world.clock);
        assert.equal(await store.commit(old, { ...old, cursor: old.cursor + 1 }, LEASE_MS), null);
        assert.deepEqual(await allOf(world), before);
        assert.ok(now.fence > old.fence);
        await world.clock.pass(LEASE_MS);
        await settle(world);
      }));
  }
}

for (const [party, step, outcome] of [
  ['the host', 'prepare target', 'fenced'],
  ['the host', 'stop source', 'fenced'],
  ['the host', 'start target', 'fenced'],
  ['the ports', 'bind ports', 'fenced'],
  ['the ports', 'hand over ports', 'fenced'],
  ['the global database', 'hold source room', 'fenced'],
  ['the global database', 'choose target', 'fenced'],
  ['the global database', 'switch home', 'fenced'],
  ['the cell’s database', 'copy records', 'fenced'],
  ['the cell’s database', 'let go', 'fenced'],
] as const) {
  test(`${party} says fenced at '${step}'`, () =>
    withWorld(async (world) => {
      const serverId = await resizing(world);
      const old = await upTo(world, serverId, step);
      await takeOver(world);
      const spec = findMove('resize', 1).definition.steps[old.cursor];
      assert(spec);
      assert.equal((await world.clock.drive(moveEffects(world.p).run(old, spec, 'do'))).kind, outcome);
    }));
}
