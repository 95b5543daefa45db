// The steps that volumes take part in under every fault, once more with volumes in a Cinder: some of the cells, chosen by
// the seed; with CROSSCELL_LONG=1 all.
import { test } from 'node:test';
import { cellName, cellsOf, runCell } from './cells.ts';
import { ON_CINDER } from './cinder-fixtures.ts';
import { LONG, SEED } from './pair-tests.ts';
import { sample } from './pairs.ts';

const CONCERNED = /volume|start (source|target)|let go|revoke|release/;
const COUNT = 12;

const cells = ON_CINDER.flatMap((fixture) =>
  cellsOf(fixture.move, fixture)
    .filter(({ step, expected }) => typeof expected !== 'string' && CONCERNED.test(step))
    .map((cell) => ({ cell, fixture })),
);
for (const { cell, fixture } of LONG ? cells : sample(cells, COUNT, SEED)) {
  test(`on Cinder, ${cellName(cell)}`, () => runCell(cell, fixture).then(() => undefined));
}
