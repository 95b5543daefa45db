// A sample of the faults of test/moves/matrix, on PostgreSQL.
import { test } from 'node:test';
import { cellName, cellsOf, runCell } from '../moves/matrix/cells.ts';
import { isOutage } from '../moves/matrix/faults.ts';
import { worldsOnPostgres } from './world.ts';

/** Every so many cells of the matrix is tried; the number shares no factor with that of the faults. */
const EVERY = 19;

const unavailable = await worldsOnPostgres();
if (unavailable !== null) test('faults on PostgreSQL', { skip: unavailable }, () => undefined);
else {
  // An hour's outage is a thousand heartbeats, which take their time on a real database.
  const cells = ['resize', 'confirm', 'revert']
    .flatMap((move) => cellsOf(move))
    .filter((cell) => typeof cell.expected !== 'string' && !isOutage(cell.fault));
  const sample = cells.filter((_, n) => n % EVERY === 0);
  for (const cell of sample) test(`on PostgreSQL: ${cellName(cell)}`, () => runCell(cell).then(() => undefined));
}
