// Every step of the moves that a Neutron hears of under every fault: some of the cells, chosen by the seed; with
// CROSSCELL_LONG=1 all.
import { test } from 'node:test';
import { cellName, cellsOf, runCell } from './cells.ts';
import { BESIDE_NEUTRON } from './neutron-fixtures.ts';
import { LONG, SEED } from './pair-tests.ts';
import { sample } from './pairs.ts';

const COUNT = 10;

const cells = BESIDE_NEUTRON.flatMap((fixture) =>
  cellsOf(fixture.move, fixture)
    .filter(({ expected }) => typeof expected !== 'string')
    .map((cell) => ({ cell, fixture })),
);
for (const { cell, fixture } of LONG ? cells : sample(cells, COUNT, SEED)) {
  test(`beside Neutron, ${cellName(cell)}`, () => runCell(cell, fixture).then(() => undefined));
}
