// An upgrade while operations are under way: each is finished by the definition that it was begun with; one whose definition
// the new program does not have stops, says so, and goes on where a program has it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failureOf } from '../../src/moves/failure.ts';
import { anyMove, type Move } from '../../src/moves/move.ts';
import { orderMove } from '../../src/moves/orders.ts';
import { type PowerState, STOP, stopServer } from '../../src/moves/power.ts';
import { type Registry, registryOf } from '../../src/moves/registry.ts';
import { showMove } from '../../src/moves/view.ts';
import {
  accept,
  activeSagas,
  newServer,
  refuse,
  runningOn,
  serverOf,
  Worker,
  type World,
  withSoundWorld,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

/** `stop` as it might become: with a step before the one that old rows have their cursor at. */
const NEXT: Move<PowerState> = {
  ...STOP,
  version: STOP.version + 1,
  steps: [
    ...STOP.steps.slice(0, 1),
    { step: 'warn guest', do: async () => ({ kind: 'done' }), undo: 'it was only warned' },
    ...STOP.steps.slice(1),
  ],
};
const STEPS = STOP.steps.map((each) => each.step);

/** A server whose stop has been begun by the old program, which then ended; the saga's id. */
async function begun(world: World, serverId: string): Promise<string> {
  await accept(world, stopServer(world.p, world.user, serverId));
  const [saga] = await activeSagas(world);
  assert(saga);
  assert.deepEqual([saga.definition, saga.version, saga.cursor], ['stop', STOP.version, 1]);
  return saga.id;
}

async function runWith(world: World, registry: Registry): Promise<void> {
  const worker = new Worker(world, undefined, registry);
  while ((await worker.step()) !== 'idle');
}

const doneSteps = async (world: World, id: string) =>
  (await showMove(world.p, id))?.steps.filter((each) => each.outcome === 'done').map((each) => each.step);

test('a saga is finished by the version of its definition that it was begun with', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const id = await begun(world, serverId);
    await runWith(world, registryOf([anyMove(NEXT), anyMove(STOP)]));
    assert.deepEqual(await doneSteps(world, id), STEPS);
    assert.equal((await serverOf(world, serverId)).vmState, 'stopped');
  }));

test('a saga whose version is not known stops, says so, and goes on where it is', () =>
  withSoundWorld(async (world) => {
    const serverId = await newServer(world);
    const id = await begun(world, serverId);
    const before = await snapshotOf(world);
    await runWith(world, registryOf([anyMove(NEXT)]));
    assert.deepEqual(await snapshotOf(world), before, 'nothing was done about it');
    assert.deepEqual(runningOn(world, serverId), [(await serverOf(world, serverId)).host]);
    const stuck = await showMove(world.p, id);
    assert.deepEqual([stuck?.status, stuck?.reason], ['stuck', "this program does not know version 1 of 'stop'"]);

    // As the new program tells it, which here has all that is registered: so the row is made of one that it does not have.
    const sagas = () => world.p.stores.global.updateTable('sagas').where('id', '=', id);
    await sagas().set({ version: 99 }).execute();
    const card = await failureOf(world.p, id);
    assert.equal(card?.situation, 'stuck');
    assert.match(card?.advice ?? '', /begun by another version of this program.*Run that version, then .*retry/);
    for (const kind of ['retry', 'cancel'] as const) {
      const refusal = await refuse(world, orderMove(world.p, world.admin, id, { kind }));
      assert.deepEqual(
        [refusal.code, /version 99, which this program does not know/.test(refusal.message)],
        [409, true],
      );
    }

    await sagas().set({ version: STOP.version }).execute();
    await accept(world, orderMove(world.p, world.admin, id, { kind: 'retry' }));
    const fences: number[] = [];
    const worker = new Worker(world);
    for (let op = 'start'; op !== 'idle'; op = await worker.step()) if (op === 'raise') fences.push(1);
    assert.equal(fences.length, 1, 'whoever was at it before is shut out');
    assert.deepEqual(await doneSteps(world, id), STEPS);
    assert.equal((await serverOf(world, serverId)).vmState, 'stopped');
  }));

test('no version of a definition is registered twice', () => {
  assert.throws(() => registryOf([anyMove(STOP), anyMove(STOP)]), /registered once/);
});
