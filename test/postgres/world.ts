// Lets the worlds of test/moves live on a PostgreSQL server: databases of their own for each.
import { after } from 'node:test';
import { startPostgres } from '../../src/store/test-postgres.ts';
import { worldDatabases } from '../moves/world.ts';
import { watchConnections } from './connections.ts';

/** From now on, until this process's tests have ended. Returns why it cannot be, or null. */
export async function worldsOnPostgres(): Promise<string | null> {
  const server = await startPostgres();
  if (server.kind === 'unavailable') return server.reason;
  worldDatabases.next = () => server.stores(['cell1', 'cell2']);
  worldDatabases.isBusy = watchConnections();
  after(() => server.stop());
  return null;
}
