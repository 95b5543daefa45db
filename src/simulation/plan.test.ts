import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isUuid } from '../lib/ids.ts';
import { fc } from '../lib/property-testing.ts';
import { diceOf, uuidsOf } from './dice.ts';
import { OPERATIONS, planOf, STEP_FAULTS } from './plan.ts';

const options = { servers: 3, ms: 60_000, operationsPerServer: 3, faultsPerOperation: 1, faults: 0, silenceMs: 60_000 };

test('a seed has one plan, and its events come in order', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), (seed) => {
      const plan = planOf({ ...options, seed });
      assert.deepEqual(planOf({ ...options, seed }), plan);
      const times = plan.events.map((event) => event.at);
      assert.deepEqual(
        times.toSorted((a, b) => a - b),
        times,
      );
    }),
  );
});

test('every operation, every fault of a step and every other event has its turn', () => {
  const events = Array.from({ length: 300 }, (_, seed) => planOf({ ...options, seed }).events).flat();
  const operations = new Set(events.flatMap((event) => (event.what === 'operate' ? [event.operation] : [])));
  const faults = new Set(events.flatMap((event) => (event.what === 'step fault' ? [event.fault] : [])));
  assert.deepEqual([...operations].sort(), OPERATIONS.toSorted());
  assert.deepEqual([...faults].sort(), STEP_FAULTS.toSorted());
  assert.equal(new Set(events.map((event) => event.what)).size, 21);
});

test('ids from dice are UUIDs, and all different', () => {
  const next = uuidsOf(diceOf(1, 'ids'));
  const ids = Array.from({ length: 10_000 }, next);
  assert.ok(ids.every(isUuid));
  assert.equal(new Set(ids).size, ids.length);
  assert.notEqual(uuidsOf(diceOf(2, 'ids'))(), ids[0]);
});
