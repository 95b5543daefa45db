// Every step of a resize under every fault, also on its way to another host; see cells.ts.
import { test } from 'node:test';
import { cellName, cellsOnTheWayElsewhere, runElsewhere } from './cells.ts';
import { RESIZED_WHILE_OFF } from './fixtures.ts';
import { testCells, testSomeCellsOf } from './tests.ts';

testCells('resize', 'without outages');

for (const cell of cellsOnTheWayElsewhere()) test(`${cellName(cell)}, then another host`, () => runElsewhere(cell));

testSomeCellsOf('resized while off, ', RESIZED_WHILE_OFF, 6);
