// Lets the worlds of test/moves live on a PostgreSQL server.
//
// To make databases with their tables takes longer than most of what is tested on them: a world that is closed leaves its
// databases, emptied, to the next one.
import { after } from 'node:test';
import pg from 'pg';
import { CELL_MIGRATIONS, GLOBAL_MIGRATIONS } from '../../src/store/migrations.ts';
import { openStores } from '../../src/store/stores.ts';
import { startPostgres } from '../../src/store/test-postgres.ts';
import { seedsOf } from '../moves/memory-databases.ts';
import { worldDatabases } from '../moves/world.ts';
import { watchConnections } from './connections.ts';

const CELLS = ['cell1', 'cell2'];

/** From now on, until this process's tests have ended. Returns why it cannot be, or null. */
export async function worldsOnPostgres(): Promise<string | null> {
  const server = await startPostgres();
  if (server.kind === 'unavailable') return server.reason;
  const free: Awaited<ReturnType<typeof server.stores>>[] = [];
  worldDatabases.open = async () => {
    const at = free.pop() ?? (await server.stores(CELLS));
    const stores = await openStores(at);
    return {
      ...stores,
      close: async () => {
        await stores.close();
        await empty(at.global, seedsOf(GLOBAL_MIGRATIONS));
        for (const cell of CELLS) await empty(at.cell(cell), seedsOf(CELL_MIGRATIONS));
        free.push(at);
      },
    };
  };
  worldDatabases.underWay = watchConnections();
  after(() => server.stop());
  return null;
}

/** As its superuser, for whom no foreign key holds here. */
const EMPTY = `do $$ declare t record; begin
    set local session_replication_role = replica;
    for t in select tablename from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations' loop
      execute format('delete from %I', t.tablename);
    end loop;
    for t in select sequencename from pg_sequences where schemaname = 'public' loop
      execute format('alter sequence %I restart', t.sequencename);
    end loop;
  end $$`;

/** Leaves in the database what it held when it was new. A cell's that nobody has needed has no tables, and gets none. */
async function empty(url: string, seeds: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(EMPTY);
    for (const seed of seeds) await client.query(seed);
  } finally {
    await client.end();
  }
}
