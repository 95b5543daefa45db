// docs/proof.md is generated from runs (`make proof`); here it is held against the code that it speaks of.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MOVES } from '../../src/moves/registry.ts';
import { diceOf } from '../../src/simulation/dice.ts';
import { SAFETIES } from '../../src/simulation/safety.ts';
import { allCases } from '../fire/plan.ts';
import { read, tableUnder } from './markdown.ts';

const page = read('docs/proof.md');

test('every move is in the matrix, and in the pairs of faults', () => {
  const moves = MOVES.map(({ definition }) => definition.name).toSorted();
  const shown = [...page.matchAll(/^### (.+)$/gm)].map(([, move = '']) => move);
  assert.deepEqual(shown.toSorted(), moves);
  assert.deepEqual(
    tableUnder(page, 'Two faults')
      .rows.map(([move = '']) => move)
      .toSorted(),
    moves,
  );
});

test('every part of the safety has been switched off, and was missed', () => {
  const { rows } = tableUnder(page, 'Safety switched off');
  assert.deepEqual(
    rows.map(([part = '']) => part.split(':')[0]),
    [...SAFETIES],
  );
  for (const [part = '', schedules = ''] of rows) assert.match(schedules, /^found after /, part);
});

test('it says of how many kills those on QEMU are a part', () => {
  const all = (['image', 'volume'] as const).flatMap((backing) => allCases(backing, diceOf(1, backing))).length;
  const [, played, cases] = /(\d+) of the (\d+) cases there are/.exec(page) ?? [];
  assert.equal(Number(cases), all);
  assert.ok(Number(played) > 0 && Number(played) <= all);
});
