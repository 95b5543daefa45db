import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MOVES } from '../moves/registry.ts';
import { aimedMoves, aimedPlan, aimOf, CASES, nameOf } from './aims.ts';
import { diceOf } from './dice.ts';
import { DEFAULT_SCENARIO, openStage } from './scenario.ts';

const NAMES = MOVES.map(({ definition }) => definition.name);
const FIRST = 3;
const APART = 5;

test('every move has a way that leads to it', () => {
  assert.deepEqual(aimedMoves().sort(), NAMES.toSorted());
});

test('every case has its turn to be aimed at', () => {
  const aims = CASES.map((_, turn) => aimOf(FIRST + APART * turn));
  assert.equal(new Set(aims).size, CASES.length);
  assert.deepEqual([aimOf(FIRST + 1), aimedPlan(FIRST + 1)], [null, null]);
});

test('what a schedule is aimed at comes about', async () => {
  const dice = diceOf(1, 'some of them');
  const seeds = Array.from({ length: 30 }, () => FIRST + APART * dice(CASES.length));
  const stage = await openStage(DEFAULT_SCENARIO);
  try {
    for (const seed of seeds) {
      const [aim, plan] = [aimOf(seed), aimedPlan(seed)];
      assert.ok(aim && plan);
      const { struck, violations, lines } = await stage.run(plan);
      assert.deepEqual(violations, []);
      assert.ok(struck.has(nameOf(aim)), `${nameOf(aim)}: ${lines.join('\n')}`);
    }
  } finally {
    stage.close();
  }
});
