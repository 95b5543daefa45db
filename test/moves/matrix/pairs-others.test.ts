// Pairs of faults in every other move than the resize, doing and undoing: some by seed (CROSSCELL_SEED). With
// CROSSCELL_LONG=1 all of them are among those of pairs-doing and pairs-undoing. Those that once broke a promise are always tried.
import { FAULTS } from './faults.ts';
import { FIXTURES } from './fixtures.ts';
import { SEED, testPairs } from './pair-tests.ts';
import { type Pair, pairsInDoing, pairsInUndoing, sample } from './pairs.ts';

const SAMPLE = 3;

for (const { move } of FIXTURES.filter((each) => each.move !== 'resize')) {
  testPairs(`seed ${SEED}`, move, sample([...pairsInDoing(move), ...pairsInUndoing(move, FAULTS)], SAMPLE, SEED));
}

const growing = { definition: 'extend volume', step: 'grow volume', direction: 'do' } as const;
const GROWN_BEHIND_ITS_RECORD: Pair = [
  { target: growing, fault: 'stale' },
  { target: growing, fault: 'error' },
];
testPairs('a late call must not grow it', 'extend volume', [GROWN_BEHIND_ITS_RECORD]);
