// A quarter of the schedules that every test run has; each quarter is a test file, so that they run side by side with
// other files. SIMULATION_SCHEDULES says how many there are in all: `make test-long` has a million.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MOVES } from '../../src/moves/registry.ts';
import { CASES, nameOf } from '../../src/simulation/aims.ts';
import { DEFAULT_SCENARIO } from '../../src/simulation/scenario.ts';
import { search } from '../../src/simulation/search.ts';

const QUARTERS = 4;
const ALL = Number(process.env['SIMULATION_SCHEDULES'] ?? 20_000);
const FIRST_SEED = 1;
/** Some times as many as it takes for the rarest move, and for its being turned back. */
const ENOUGH_FOR_ALL_MOVES = 4000;
/** More than it takes for each to be aimed at. */
const ENOUGH_FOR_ALL_CASES = 25_000;
const NAMES = MOVES.map(({ definition }) => definition.name);

export function quarter(number: number): void {
  const count = Math.ceil(ALL / QUARTERS);
  const first = FIRST_SEED + (number - 1) * count;
  test(`schedules ${first} to ${first + count - 1}: every move ends, every invariant holds`, async () => {
    const { failure, schedules, counts, moves, struck } = await search(DEFAULT_SCENARIO, { first, count }, 1);
    const replay = failure === null ? '' : `bin/crosscell simulate --seed ${failure.seed} --trace`;
    assert.equal(failure, null, `${failure?.violations.join('; ')}\n${failure?.trace.join('\n')}\nreplay: ${replay}`);
    assert.equal(schedules, count);
    // That they all end well means something only when much happens in them, and everything that can.
    assert.ok(counts.accepted > 2 * count && counts.faults > count && counts.steps > 15 * count);
    if (count < ENOUGH_FOR_ALL_MOVES) return;
    assert.deepEqual(
      NAMES.filter((name) => !moves.has(name)),
      [],
      'these never ran',
    );
    const cases = CASES.filter((each) => struck.has(nameOf(each)));
    const phases = new Set(cases.map(({ definition, direction }) => `${direction} ${definition.name}`));
    assert.deepEqual(
      NAMES.flatMap((name) => [`do ${name}`, `undo ${name}`]).filter((phase) => !phases.has(phase)),
      [],
      'no fault struck these',
    );
    assert.deepEqual(
      count < ENOUGH_FOR_ALL_CASES ? [] : CASES.map(nameOf).filter((each) => !struck.has(each)),
      [],
      'these never came about',
    );
  });
}
