// The moves on PostgreSQL: all that test/moves/moves.test.ts says of them, and a sample of the faults.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import pg from 'pg';
import type { Refusal } from '../../src/model/types.ts';
import { confirmResize } from '../../src/moves/confirm.ts';
import { findMove } from '../../src/moves/registry.ts';
import { resizeServer } from '../../src/moves/resize.ts';
import { revertResize } from '../../src/moves/revert.ts';
import { startPostgres } from '../../src/store/test-postgres.ts';
import { FAULTS, type Fault, faultyEffects, type Target } from '../moves/faults.ts';
import {
  accept,
  assertSound,
  FLAVORS,
  newServer,
  openWorld,
  runningOn,
  serverOf,
  settle,
  type World,
  worldDatabases,
} from '../moves/world.ts';
import { snapshotOf } from '../moves/world-snapshot.ts';

/** Every so many combinations of step and fault is tried; the number shares no factor with that of the faults. */
const EVERY = 17;

const server = await startPostgres();
if (server.kind === 'unavailable') test('moves on PostgreSQL', { skip: server.reason }, () => undefined);
else {
  worldDatabases.next = () => server.stores(['cell1', 'cell2']);
  worldDatabases.isBusy = watchConnections();
  after(() => server.stop());
  await import('../moves/moves.test.ts');
  sampleOfFaults();
}

interface Fixture {
  readonly move: string;
  prepare(world: World): Promise<string>;
  start(world: World, serverId: string): Promise<Refusal | null>;
  readonly after: string;
}

function sampleOfFaults(): void {
  const resize = (world: World, id: string) => resizeServer(world.p, world.user, id, { flavorId: FLAVORS.big });
  const resized = async (world: World): Promise<string> => {
    const id = await newServer(world);
    await accept(world, resize(world, id));
    await settle(world);
    return id;
  };
  const fixtures: readonly Fixture[] = [
    { move: 'resize', prepare: newServer, start: resize, after: 'resized' },
    {
      move: 'confirm',
      prepare: resized,
      start: (world, id) => confirmResize(world.p, world.user, id),
      after: 'active',
    },
    { move: 'revert', prepare: resized, start: (world, id) => revertResize(world.p, world.user, id), after: 'active' },
  ];
  let count = 0;
  for (const fixture of fixtures) {
    const { definition } = findMove(fixture.move, 1);
    definition.steps.forEach(({ name: step }, index) => {
      for (const fault of FAULTS) {
        const never = index === 0 || (fault.startsWith('error') && index >= definition.pivot);
        if (never) continue;
        count += 1;
        if (count % EVERY !== 0) continue;
        test(`${fixture.move} on PostgreSQL: do ${step}: ${fault}`, () =>
          strike(fixture, { definition: fixture.move, step, direction: 'do' }, fault));
      }
    });
  }
}

async function strike(fixture: Fixture, target: Target, fault: Fault): Promise<void> {
  const world = await openWorld();
  try {
    const id = await fixture.prepare(world);
    const before = await snapshotOf(world);
    await accept(world, fixture.start(world, id));
    const effects = faultyEffects(world, target, fault);
    await settle(world, effects);
    await world.clock.drive(effects.wake());
    await settle(world);
    assert.equal(effects.struck(), true, 'the fault did not strike');
    await assertSound(world);
    if (fault.startsWith('error')) {
      assert.deepEqual(await snapshotOf(world), before);
      return;
    }
    const found = await serverOf(world, id);
    assert.equal(found.vmState, fixture.after);
    assert.deepEqual(runningOn(world, id), [found.host]);
  } finally {
    await world.close();
  }
}

/** Whether a statement or the making of a connection is under way, anywhere in this process. */
function watchConnections(): () => boolean {
  let underWay = 0;
  const counted = (of: { query?: unknown; connect?: unknown }, method: 'query' | 'connect'): void => {
    const original = of[method] as (...args: unknown[]) => unknown;
    of[method] = function (this: unknown, ...args: unknown[]) {
      const answer = original.apply(this, args);
      if (answer instanceof Promise) {
        underWay += 1;
        const over = (): void => {
          underWay -= 1;
        };
        answer.then(over, over);
      }
      return answer;
    };
  };
  counted(pg.Client.prototype, 'query');
  counted(pg.Pool.prototype, 'connect');
  return () => underWay > 0;
}
