// A check that cannot fail proves nothing: with one part of the safety switched off the search must find what goes wrong.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Safety } from '../../src/simulation/safety.ts';
import { DEFAULT_SCENARIO, openStage, planFor } from '../../src/simulation/scenario.ts';
import { search } from '../../src/simulation/search.ts';

/** Within how many schedules, from its first seed on, it must be found: some times as many as it takes today. */
const WITHIN: Readonly<Record<Safety, number>> = {
  ...{ 'host-fences': 500, 'port-fences': 500, 'cell-fences': 1500 },
  ...{ lease: 1500, undo: 200, debts: 1000, revoke: 500, disk: 50 },
};

/** Where 1 would take long: a call that is as old as that, and still of consequence, is rare. */
const FIRST: Partial<Readonly<Record<Safety, number>>> = { 'host-fences': 2201, 'port-fences': 301 };

/** More goes wrong than by default: what is switched off is needed when things go wrong. */
const SCENARIO = { ...DEFAULT_SCENARIO, faults: 3 };

for (const [part, count] of Object.entries(WITHIN)) {
  test(`without ${part} a violation is found within ${count} schedules`, async (t) => {
    const without = part as Safety;
    const { failure, schedules } = await search({ ...SCENARIO, without }, { first: FIRST[without] ?? 1, count }, 1);
    assert.ok(failure !== null, `nothing was found in ${count} schedules`);
    t.diagnostic(`found in schedule ${schedules}: ${failure.violations[0]}`);
    assert.ok(failure.shortest.length < failure.events);
    // With that part on, nothing is wrong with the very same schedule.
    const stage = await openStage(SCENARIO);
    try {
      const { violations } = await stage.run(planFor(SCENARIO, failure.seed));
      assert.deepEqual(violations, []);
    } finally {
      stage.close();
    }
  });
}
