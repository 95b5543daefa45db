// The moves of servers that are off, that stay in their cell, that get no other flavor: of each a few cells chosen by the
// seed, and the pivot that is refused although it took effect; with CROSSCELL_LONG=1 all.
import { OTHER_SHAPES } from './fixtures.ts';
import { testSomeCellsOf } from './tests.ts';

const SAMPLE = 3;

for (const [what, fixture] of OTHER_SHAPES) testSomeCellsOf(what, fixture, SAMPLE);
