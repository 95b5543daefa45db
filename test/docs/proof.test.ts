// docs/proof.md is generated from runs (`make proof`); here it is held against the code that it speaks of.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MOVES } from '../../src/moves/registry.ts';
import { SAFETIES } from '../../src/simulation/safety.ts';
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
