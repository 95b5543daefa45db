import assert from 'node:assert/strict';
import { test } from 'node:test';
import { operatorsAtWork } from './operators-at-work.ts';
import { type Event, ORDERS } from './plan.ts';
import { DEFAULT_SCENARIO, openStage, planFor } from './scenario.ts';

test('operators come to some small worlds with every order, and to large ones more often', () => {
  const scenes = Array.from({ length: 400 }, (_, seed) => operatorsAtWork({ seed, ms: 60_000, operations: 5 }));
  const some = scenes.filter((events) => events.length > 0).length;
  assert.ok(some > 60 && some < 140, `${some} of 400`);
  const orders = new Set(scenes.flat().flatMap((event) => (event.what === 'order' ? event.order : [])));
  assert.deepEqual([...orders].sort(), [...new Set(ORDERS)].sort());
  const refusals = scenes.flat().flatMap((event) => (event.what === 'refusal' ? event.landed : []));
  assert.ok(refusals.includes(true) && refusals.includes(false));
  const large = operatorsAtWork({ seed: 1, ms: 3_600_000, operations: 1000 });
  assert.equal(large.filter(({ what }) => what === 'refusal').length, 40);
});

/** A resize is confirmed, and what the source still has is not cleaned up before an operator comes. */
const refusedIn = (order: 'skip' | 'retry', landed: boolean): readonly Event[] => [
  { at: 0, what: 'create', flavor: 0, disks: 7, group: 1 },
  { at: 20_000, what: 'operate', operation: 'resize', server: 0, choice: 1 },
  { at: 40_000, what: 'refusal', landed, skip: 1 },
  { at: 40_000, what: 'operate', operation: 'confirm', server: 0, choice: 0 },
  { at: 60_000, what: 'order', order, choice: 0 },
];

test('a move that is refused waits for an operator, who skips what has happened and retries what has not', async () => {
  const stage = await openStage(DEFAULT_SCENARIO);
  try {
    for (const [order, landed] of [
      ['skip', true],
      ['skip', false],
      ['retry', true],
    ] as const) {
      const plan = { seed: 1, confirmWindowSeconds: 0, reclaimSeconds: 0, offloadSeconds: -1 };
      const { violations, lines, struck } = await stage.run({ ...plan, events: refusedIn(order, landed) });
      assert.deepEqual(violations, [], lines.join('\n'));
      assert.ok(struck.has(`${landed ? 'landed refusal' : 'refusal'} at do clean source of confirm`));
      const done = lines.filter((line) => line.includes('do clean source: done')).length;
      const refused = lines.filter((line) => line.includes('do clean source: failed (injected refusal)')).length;
      // Four times, and then nobody tries any more: after a skip not even the operator's order does.
      assert.deepEqual([refused, done], [4, order === 'skip' && landed ? 0 : 1], lines.join('\n'));
      assert.ok(lines.some((line) => line.includes(`${order} (an operator): accepted`)));
    }
  } finally {
    stage.close();
  }
});

test('the plan of a seed is in order, with all of this in it', () => {
  for (let seed = 1; seed < 200; seed += 1) {
    const times = planFor(DEFAULT_SCENARIO, seed).events.map(({ at }) => at);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => a - b),
    );
  }
});
