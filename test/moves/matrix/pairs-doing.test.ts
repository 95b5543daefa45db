// Pairs of faults, do × do: one that a resize survives, and another at that step or a later one; a sample by seed
// (CROSSCELL_SEED), and one of the pairs with an hour's outage. With CROSSCELL_LONG=1 all of them, for every move.
import { FIXTURES } from './fixtures.ts';
import { LONG, SEED, testPairs } from './pair-tests.ts';
import { isLong, pairsInDoing, pairsInUndoing, sample } from './pairs.ts';

const SAMPLE = 300;
const SAMPLE_OF_OUTAGES = 40;

if (LONG) for (const { move } of FIXTURES) testPairs('in doing', move, pairsInDoing(move));
else {
  const all = pairsInDoing('resize');
  const short = all.filter((pair) => !isLong(pair));
  testPairs(`in doing, seed ${SEED}`, 'resize', sample(short, SAMPLE, SEED));
  testPairs(`with outages, seed ${SEED}`, 'resize', sample(all.filter(isLong), SAMPLE_OF_OUTAGES, SEED));
  testPairs(`in undoing, seed ${SEED}`, 'resize', sample(pairsInUndoing('resize'), SAMPLE / 3, SEED));
}
