// Every step of the moves that a Placement or a Glance hears of under every fault: some of the cells, chosen by the seed;
// with CROSSCELL_LONG=1 all.
import { test } from 'node:test';
import { cellName, cellsOf, runCell } from './cells.ts';
import { LONG, SEED } from './pair-tests.ts';
import { sample } from './pairs.ts';
import { BESIDE_SERVICES } from './services-fixtures.ts';

const COUNT = 12;

const cells = BESIDE_SERVICES.flatMap((fixture) =>
  cellsOf(fixture.move, fixture)
    .filter(({ expected }) => typeof expected !== 'string')
    .map((cell) => ({ cell, fixture })),
);
for (const { cell, fixture } of LONG ? cells : sample(cells, COUNT, SEED)) {
  test(`beside services, ${cellName(cell)}`, () => runCell(cell, fixture).then(() => undefined));
}
