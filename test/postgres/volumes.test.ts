// Volumes on PostgreSQL: all that test/moves/volumes.test.ts says of them.
import { after, test } from 'node:test';
import { startPostgres } from '../../src/store/test-postgres.ts';
import { worldDatabases } from '../moves/world.ts';
import { watchConnections } from './connections.ts';

const server = await startPostgres();
if (server.kind === 'unavailable') test('volumes on PostgreSQL', { skip: server.reason }, () => undefined);
else {
  worldDatabases.next = () => server.stores(['cell1', 'cell2']);
  worldDatabases.isBusy = watchConnections();
  after(() => server.stop());
  await import('../moves/volumes.test.ts');
}
