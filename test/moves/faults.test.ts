// Every step of every move fails in turn, in every way, in both directions. Whatever happens, the move ends; the server
// is where it should be or the world is as it was; and every invariant holds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Refusal } from '../../src/model/types.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { deleteServer } from '../../src/moves/delete.ts';
import { rebootServer, startServer, stopServer } from '../../src/moves/power.ts';
import { findMove } from '../../src/moves/registry.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { FAULTS, type Fault, faultyEffects, type Target } from './faults.ts';
import {
  accept,
  activeSagas,
  assertSound,
  auditWorld,
  FLAVORS,
  newServer,
  openWorld,
  requestServer,
  runningOn,
  serverOf,
  settle,
  type World,
} from './world.ts';
import { snapshotOf } from './world-snapshot.ts';

interface Fixture {
  readonly move: string;
  /** Brings the server into the state from which the move starts. */
  prepare(world: World): Promise<string>;
  start(world: World, serverId: string): Promise<Refusal | null>;
  /** vm_state of a server after the move has succeeded; null: it is gone. */
  readonly after: string | null;
  /** What a failure in `undo` needs so that the saga turns round in the first place. */
  readonly turnAt: string | null;
}

const resize = (world: World, serverId: string) =>
  resizeServer(world.p, world.user, serverId, { flavorId: FLAVORS.big });

async function resized(world: World): Promise<string> {
  const serverId = await newServer(world);
  await accept(world, resize(world, serverId));
  await settle(world);
  return serverId;
}

async function stopped(world: World): Promise<string> {
  const serverId = await newServer(world);
  await accept(world, stopServer(world.p, world.user, serverId));
  await settle(world);
  return serverId;
}

const FIXTURES: readonly Fixture[] = [
  { move: 'resize', prepare: newServer, start: resize, after: 'resized', turnAt: 'copy records' },
  {
    move: 'confirm',
    prepare: resized,
    start: (world, id) => confirmResize(world.p, world.user, id),
    after: 'active',
    turnAt: null,
  },
  {
    move: 'revert',
    prepare: resized,
    start: (world, id) => revertResize(world.p, world.user, id),
    after: 'active',
    turnAt: 'copy records back',
  },
  {
    move: 'delete',
    prepare: resized,
    start: (world, id) => deleteServer(world.p, world.user, id),
    after: null,
    turnAt: null,
  },
  {
    move: 'stop',
    prepare: newServer,
    start: (world, id) => stopServer(world.p, world.user, id),
    after: 'stopped',
    turnAt: 'turn off',
  },
  {
    move: 'start',
    prepare: stopped,
    start: (world, id) => startServer(world.p, world.user, id),
    after: 'active',
    turnAt: 'turn on',
  },
  {
    move: 'reboot',
    prepare: newServer,
    start: (world, id) => rebootServer(world.p, world.user, id, 'HARD'),
    after: 'active',
    turnAt: 'turn off',
  },
];

/** A conductor stalls before a step; its successor fails there and undoes everything; then the first one wakes. */
async function wakeTooLate(fixture: Fixture, step: string): Promise<void> {
  const world = await openWorld();
  try {
    const serverId = await fixture.prepare(world);
    const before = await snapshotOf(world);
    await accept(world, fixture.start(world, serverId));
    const target = { definition: fixture.move, step, direction: 'do' } as const;
    const stalled = faultyEffects(world, target, 'zombie');
    await settle(world, stalled, faultyEffects(world, target, 'error'));
    assert.deepEqual(await snapshotOf(world), before);
    await world.clock.drive(stalled.wake());
    await settle(world);
    assert.deepEqual(await snapshotOf(world), before);
    await assertSound(world);
  } finally {
    await world.close();
  }
}

/** Where a resize chooses its target. */
const CHOICE = findMove('resize', 1).definition.steps.findIndex((step) => step.name === 'choose target');

/** Steps that an API call takes itself: no conductor passes them in the direction `do`. */
const FIRST = 0;

/**
 * `tries`: hosts that the move may try. With one, what fails at its target turns back for good. With more, a failure in
 * an undo may be on the way to another host; a conductor that dies there has a successor for whom nothing is broken.
 */
async function strike(fixture: Fixture, target: Target, fault: Fault, tries = 1): Promise<void> {
  const world = await openWorld({ maxAttempts: tries });
  try {
    const serverId = await fixture.prepare(world);
    const before = await snapshotOf(world);
    await accept(world, fixture.start(world, serverId));
    const effects = faultyEffects(world, target, fault);
    // To see an undo fail, something must fail before: the last step that can be undone does.
    const turn =
      target.direction === 'undo' && fixture.turnAt !== null
        ? faultyEffects(world, { ...target, step: fixture.turnAt, direction: 'do' }, 'error-after')
        : null;
    await settle(world, {
      ...effects,
      run: (row, step, direction) =>
        direction === 'do' && turn ? turn.run(row, step, direction) : effects.run(row, step, direction),
    });
    await world.clock.drive(effects.wake());
    await settle(world);
    assert.equal(effects.struck(), true, 'the fault did not strike');
    await assertSound(world);
    const { definition } = findMove(fixture.move, 1);
    const index = definition.steps.findIndex((step) => step.name === target.step);
    const turned = target.direction === 'undo' || (fault.startsWith('error') && index <= definition.pivot);
    // A guest that cannot be turned on again after its reboot turned it off stays off, and its record says so.
    if (tries > 1) await assertDone(world, serverId, fixture.after);
    else if (target.definition === 'reboot' && target.step === 'turn on' && turned) {
      await assertDone(world, serverId, 'stopped');
    } else if (turned) assert.deepEqual(await snapshotOf(world), before);
    else await assertDone(world, serverId, fixture.after);
  } finally {
    await world.close();
  }
}

async function assertDone(world: World, serverId: string, after: string | null): Promise<void> {
  if (after === null) {
    assert.deepEqual(runningOn(world, serverId), []);
    return;
  }
  const server = await serverOf(world, serverId);
  assert.equal(server.vmState, after);
  assert.deepEqual(runningOn(world, serverId), after === 'stopped' ? [] : [server.host]);
}

for (const fixture of FIXTURES) {
  const { definition } = findMove(fixture.move, 1);
  definition.steps.forEach(({ name: step }, index) => {
    const isPivotOrBehind = index >= definition.pivot;
    // What a reboot that cannot turn its guest on again comes to is looked at above.
    const neverAsBefore = fixture.move === 'reboot' && step === 'turn on';
    if (index > FIRST && !isPivotOrBehind && !neverAsBefore) {
      test(`${fixture.move}: do ${step}: zombie that wakes when all is undone`, () => wakeTooLate(fixture, step));
    }
    for (const fault of FAULTS) {
      // A definite no behind the pivot makes a saga stuck, on purpose; that is tested by itself.
      const never = fault.startsWith('error') && index >= definition.pivot;
      if (index > FIRST && !never) {
        test(`${fixture.move}: do ${step}: ${fault}`, () =>
          strike(fixture, { definition: fixture.move, step, direction: 'do' }, fault));
      }
      // An undo is tried for ever: one that fails for good would not end.
      const turnIndex = definition.steps.findIndex((each) => each.name === fixture.turnAt);
      if (!isPivotOrBehind && index <= turnIndex && !fault.startsWith('error')) {
        test(`${fixture.move}: undo ${step}: ${fault}`, () =>
          strike(fixture, { definition: fixture.move, step, direction: 'undo' }, fault));
        const mayGoElsewhere = fixture.move === 'resize' && index >= CHOICE && index <= turnIndex;
        if (mayGoElsewhere && ['crash-before', 'crash-after', 'zombie'].includes(fault)) {
          test(`resize: undo ${step} on the way to another host: ${fault}`, () =>
            strike(fixture, { definition: fixture.move, step, direction: 'undo' }, fault, 3));
        }
      }
    }
  });
}

/** The API's process dies in the first step, which it takes itself: a conductor finds the saga when the lease is over. */
async function startedByTheDead(fixture: Fixture, landed: boolean): Promise<void> {
  const world = await openWorld();
  try {
    const serverId = await fixture.prepare(world);
    await accept(world, fixture.start(world, serverId));
    await rewind(world, landed);
    await settle(world);
    await assertSound(world);
    await assertDone(world, serverId, fixture.after);
  } finally {
    await world.close();
  }
}

/** Takes the one active saga back to before its first step was recorded, or (not `landed`) before it was taken. */
async function rewind(world: World, landed: boolean): Promise<void> {
  const [saga] = await activeSagas(world);
  assert(saga);
  await world.p.stores.global
    .updateTable('sagas')
    .set({ cursor: 0, journal_json: '[]', lease_until: world.clock.now() + 10_000 })
    .where('id', '=', saga.id)
    .execute();
  if (landed) return;
  for (const { id } of await world.p.stores.global.selectFrom('cells').select('id').execute()) {
    const cell = await world.p.stores.cell(id);
    await cell.updateTable('servers').set({ saga_id: null, task_state: null }).where('saga_id', '=', saga.id).execute();
    await cell.deleteFrom('server_actions').where('id', '=', saga.id).execute();
  }
}

for (const fixture of FIXTURES) {
  test(`${fixture.move}: the starter dies before the first step`, () => startedByTheDead(fixture, false));
  test(`${fixture.move}: the starter dies behind the first step`, () => startedByTheDead(fixture, true));
}

for (const fault of FAULTS.filter((each) => !each.startsWith('error'))) {
  for (const { name: step } of findMove('create', 1).definition.steps.slice(2)) {
    test(`create: do ${step}: ${fault}`, () => strikeCreate({ definition: 'create', step, direction: 'do' }, fault));
  }
}
for (const step of ['prepare host', 'start guest', 'set generation']) {
  for (const fault of ['error', 'error-after'] as const) {
    test(`create: do ${step}: ${fault}`, () =>
      strikeCreate({ definition: 'create', step, direction: 'do' }, fault, 'error'));
  }
}

async function strikeCreate(target: Target, fault: Fault, after = 'active'): Promise<void> {
  const world = await openWorld();
  try {
    const serverId = await requestServer(world, FLAVORS.small);
    const effects = faultyEffects(world, target, fault);
    await settle(world, effects);
    await world.clock.drive(effects.wake());
    await settle(world);
    assert.equal(effects.struck(), true);
    assert.equal((await serverOf(world, serverId)).vmState, after);
    assert.equal(runningOn(world, serverId).length, after === 'active' ? 1 : 0);
    await assertSound(world);
  } finally {
    await world.close();
  }
}

for (const step of ['drop old records', 'finish migration', 'let go']) {
  test(`resize: a definite no behind the pivot (${step}) is stuck, named, and goes on when its cause is gone`, async () => {
    const world = await openWorld();
    try {
      const serverId = await newServer(world);
      await accept(world, resize(world, serverId));
      await settle(world, faultyEffects(world, { definition: 'resize', step, direction: 'do' }, 'error'));
      const report = await auditWorld(world);
      const found = report.invariants.find((each) => each.name === 'sagas have servers');
      assert.match(found?.breaches[0]?.what ?? '', /^resize .* is stuck$/);
      assert.equal(found?.breaches[0]?.cause, `${step}: injected`);
      assert.equal(runningOn(world, serverId).length, 1);
      await world.p.stores.global
        .updateTable('sagas')
        .set({ status: 'active', attempt: 0, wake_at: 0 })
        .where('status', '=', 'stuck')
        .execute();
      await settle(world);
      await assertDone(world, serverId, 'resized');
      await assertSound(world);
    } finally {
      await world.close();
    }
  });
}
