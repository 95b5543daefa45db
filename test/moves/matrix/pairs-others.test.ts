// Pairs of faults in every other move than the resize, doing and undoing: some by seed (CROSSCELL_SEED). With
// CROSSCELL_LONG=1 all of them are among those of pairs-doing and pairs-undoing.
import { FAULTS } from './faults.ts';
import { FIXTURES } from './fixtures.ts';
import { SEED, testPairs } from './pair-tests.ts';
import { pairsInDoing, pairsInUndoing, sample } from './pairs.ts';

const SAMPLE = 3;

for (const { move } of FIXTURES.filter((each) => each.move !== 'resize')) {
  testPairs(`seed ${SEED}`, move, sample([...pairsInDoing(move), ...pairsInUndoing(move, FAULTS)], SAMPLE, SEED));
}
