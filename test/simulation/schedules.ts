// A quarter of the schedules that every test run has; each quarter is a test file, so that they run side by side with
// other files. SIMULATION_SCHEDULES says how many there are in all: `make test-long` has a million.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MOVES } from '../../src/moves/registry.ts';
import { DEFAULT_SCENARIO } from '../../src/simulation/scenario.ts';
import { search } from '../../src/simulation/search.ts';

const QUARTERS = 4;
const ALL = Number(process.env['SIMULATION_SCHEDULES'] ?? 20_000);
const FIRST_SEED = 1;
/** Some times as many as it takes for the rarest move. */
const ENOUGH_FOR_ALL_MOVES = 4000;

export function quarter(number: number): void {
  const count = Math.ceil(ALL / QUARTERS);
  const first = FIRST_SEED + (number - 1) * count;
  test(`schedules ${first} to ${first + count - 1}: every move ends, every invariant holds`, async () => {
    const { failure, schedules, counts, moves } = await search(DEFAULT_SCENARIO, { first, count }, 1);
    const replay = failure === null ? '' : `bin/crosscell simulate --seed ${failure.seed} --trace`;
    assert.equal(failure, null, `${failure?.violations.join('; ')}\n${failure?.trace.join('\n')}\nreplay: ${replay}`);
    assert.equal(schedules, count);
    // That they all end well means something only when much happens in them, and everything that can.
    assert.ok(counts.accepted > 2 * count && counts.faults > count && counts.steps > 15 * count);
    const neverRan = MOVES.map(({ definition }) => definition.name).filter((name) => !moves.has(name));
    assert.deepEqual(count < ENOUGH_FOR_ALL_MOVES ? [] : neverRan, []);
  });
}
