// The moves on PostgreSQL: all that test/moves/moves.test.ts says of them, and a sample of the faults.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import pg from 'pg';
import { startPostgres } from '../../src/store/test-postgres.ts';
import { cellName, cellsOf, runCell } from '../moves/matrix/cells.ts';
import { isOutage } from '../moves/matrix/faults.ts';
import { worldDatabases } from '../moves/world.ts';

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
    .flatMap(cellsOf)
    .filter((cell) => typeof cell.expected !== 'string' && !isOutage(cell.fault));
  for (let n = 0; n < cells.length; n += EVERY) {
    const cell = cells[n];
    assert(cell);
    test(`on PostgreSQL: ${cellName(cell)}`, () => runCell(cell).then(() => undefined));
  }
}

/** Whether a statement or the making of a connection is under way, anywhere in this process. */
function watchConnections(): () => boolean {
  let underWay = 0;
  const counted = (of: { query?: unknown; connect?: unknown }, method: 'query' | 'connect'): void => {
    const original = of[method] as (...args: unknown[]) => unknown;
    of[method] = function (this: unknown, ...args: unknown[]) {
      const answer = original.apply(this, args);
      if (answer instanceof Promise) {
        underWay += 1;
        const over = (): void => {
          underWay -= 1;
        };
        answer.then(over, over);
      }
      return answer;
    };
  };
  counted(pg.Client.prototype, 'query');
  counted(pg.Pool.prototype, 'connect');
  return () => underWay > 0;
}
