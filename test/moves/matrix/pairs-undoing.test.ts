// Pairs of faults, do × undo: each step of a resize is refused although it took effect, and while that is undone the worst
// faults strike at each undo. With CROSSCELL_LONG=1 all faults do, in every move, with and without effect, outages too.
import { FAULTS } from './faults.ts';
import { FIXTURES } from './fixtures.ts';
import { LONG, testPairs } from './pair-tests.ts';
import { pairsInUndoing } from './pairs.ts';

if (LONG) for (const { move } of FIXTURES) testPairs('in undoing', move, pairsInUndoing(move, FAULTS));
else {
  const worst = ['error', 'lost-reply', 'crash-after', 'stale'] as const;
  const landed = pairsInUndoing('resize', worst).filter(([first]) => first.fault === 'error-after');
  testPairs('in undoing', 'resize', landed);
}
