// The moves on PostgreSQL: all that test/moves/moves.test.ts says of them, and a sample of the faults.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startPostgres } from '../../src/store/test-postgres.ts';
import { cellName, cellsOf, runCell } from '../moves/matrix/cells.ts';
import { isOutage } from '../moves/matrix/faults.ts';
import { worldDatabases } from '../moves/world.ts';
import { watchConnections } from './connections.ts';

/** Every so many cells of the matrix is tried; the number shares no factor with that of the faults. */
const EVERY = 19;

const server = await startPostgres();
if (server.kind === 'unavailable') test('moves on PostgreSQL', { skip: server.reason }, () => undefined);
else {
  worldDatabases.next = () => server.stores(['cell1', 'cell2']);
  worldDatabases.isBusy = watchConnections();
  after(() => server.stop());
  await import('../moves/moves.test.ts');
  sampleOfFaults();
}

function sampleOfFaults(): void {
  // An hour's outage is a thousand heartbeats, which take their time on a real database.
  const cells = ['resize', 'confirm', 'revert']
    .flatMap((move) => cellsOf(move))
    .filter((cell) => typeof cell.expected !== 'string' && !isOutage(cell.fault));
  for (let n = 0; n < cells.length; n += EVERY) {
    const cell = cells[n];
    assert(cell);
    test(`on PostgreSQL: ${cellName(cell)}`, () => runCell(cell).then(() => undefined));
  }
}
