// A sample of the faults of test/moves/matrix, on PostgreSQL: of the moves across cells, image- and volume-backed, and of what
// is attached and deleted; with CROSSCELL_LONG=1 all of them, outages too.
import { test } from 'node:test';
import { cellName, cellsOf, runCell } from '../moves/matrix/cells.ts';
import { isOutage } from '../moves/matrix/faults.ts';
import { fixtureOf, VOLUME_BACKED } from '../moves/matrix/fixtures.ts';
import { LONG } from '../moves/matrix/pair-tests.ts';
import { worldsOnPostgres } from './world.ts';

/** Every so many cells of the matrix is tried; the number shares no factor with that of the faults. */
const EVERY = LONG ? 1 : 59;
const MOVES = ['resize', 'confirm', 'revert', 'delete', 'evacuate', 'attach volume', 'attach interface'];

const unavailable = await worldsOnPostgres();
if (unavailable !== null) test('faults on PostgreSQL', { skip: unavailable }, () => undefined);
else {
  const fixtures = [
    ...MOVES.map((move) => ['', fixtureOf(move)] as const),
    ...VOLUME_BACKED.map((fixture) => ['volume-backed, ', fixture] as const),
  ];
  // An hour's outage is a thousand heartbeats, which take their time on a real database.
  const cells = fixtures
    .flatMap(([what, fixture]) => cellsOf(fixture.move, fixture).map((cell) => ({ what, fixture, cell })))
    .filter(({ cell }) => typeof cell.expected !== 'string' && (LONG || !isOutage(cell.fault)));
  for (const { what, fixture, cell } of cells.filter((_, n) => n % EVERY === 0))
    test(`on PostgreSQL: ${what}${cellName(cell)}`, () => runCell(cell, fixture).then(() => undefined));
}
