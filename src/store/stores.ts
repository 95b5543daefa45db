// The databases of a deployment: one global, one per cell; SQLite files in a directory, or PostgreSQL databases. A cell's
// database is opened when first needed and may fail on its own, then or later: callers get CellDown for that cell and go
// on with the others.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { messageOf } from '../lib/errors.ts';
import type { CellTables } from './cell-schema.ts';
import { DatabaseDown, type OpenDatabase, openSqlite } from './database.ts';
import type { GlobalTables } from './global-schema.ts';
import { CELL_MIGRATIONS, GLOBAL_MIGRATIONS } from './migrations.ts';

/** Connections of one process, at most. */
const GLOBAL_CONNECTIONS = 10;
const CELL_CONNECTIONS = 5;
/** A cell's file that somebody locks must not hold up the others for long: only tools are beside this process there. */
const CELL_BUSY_TIMEOUT_MS = 2_000;

/**
 * A cell's database cannot be reached, or does not read and write. Its servers are out of reach until it does; nothing
 * else is. A statement that is wrong is no such thing, wherever it was executed.
 */
export class CellDown extends Error {
  override readonly name = 'CellDown';
  readonly cellId: string;
  constructor(cellId: string, cause: unknown) {
    super(`the database of cell ${cellId} cannot be reached: ${messageOf(cause)}`, { cause });
    this.cellId = cellId;
  }
}

/** Where the databases are. */
export type StoresAt =
  /** `directory`: of global.sqlite and cells/<id>.sqlite; ':memory:' keeps everything in memory. */
  | { readonly kind: 'sqlite'; readonly directory: string }
  /** URLs; a cell's by the cell's name. */
  | { readonly kind: 'postgres'; readonly global: string; readonly cell: (name: string) => string };

export interface Stores {
  readonly global: Kysely<GlobalTables>;
  /**
   * The cell's database. @throws CellDown
   * Its statements throw CellDown too, when it is lost later on; when it is back they work again.
   */
  cell(cellId: string): Promise<Kysely<CellTables>>;
  /** Statements executed in all databases since opening. */
  statements(): number;
  close(): Promise<void>;
}

/** A text is the directory of SQLite files. @throws when the global database cannot be opened */
export async function openStores(at: StoresAt | string): Promise<Stores> {
  return typeof at === 'string' ? openFiles(at) : at.kind === 'sqlite' ? openFiles(at.directory) : openServers(at);
}

async function openFiles(directory: string): Promise<Stores> {
  const inMemory = directory === ':memory:';
  if (!inMemory) mkdirSync(join(directory, 'cells'), { recursive: true, mode: 0o700 });
  const file = (...names: string[]): string => (inMemory ? ':memory:' : join(directory, ...names));
  return storesOf(await openSqlite<GlobalTables>(file('global.sqlite'), GLOBAL_MIGRATIONS), (cellId) =>
    openSqlite<CellTables>(file('cells', `${cellId}.sqlite`), CELL_MIGRATIONS, {
      busyTimeoutMs: CELL_BUSY_TIMEOUT_MS,
      down: (cause) => new CellDown(cellId, cause),
    }),
  );
}

async function openServers(at: Extract<StoresAt, { kind: 'postgres' }>): Promise<Stores> {
  // Loaded when it is needed: most systems run on files.
  const { openPostgres } = await import('./postgres.ts');
  const options = { connections: GLOBAL_CONNECTIONS };
  const global = await openPostgres<GlobalTables>(at.global, GLOBAL_MIGRATIONS, options);
  return storesOf(global, async (cellId) => {
    const row = await global.db.selectFrom('cells').select('name').where('id', '=', cellId).executeTakeFirst();
    return openPostgres<CellTables>(at.cell(row?.name ?? cellId), CELL_MIGRATIONS, {
      connections: CELL_CONNECTIONS,
      down: (cause) => new CellDown(cellId, cause),
    });
  });
}

function storesOf(
  global: OpenDatabase<GlobalTables>,
  open: (cellId: string) => Promise<OpenDatabase<CellTables>>,
): Stores {
  const cells = new Map<string, Promise<OpenDatabase<CellTables>>>();
  const opened: OpenDatabase<CellTables>[] = [];
  const openCell = async (cellId: string): Promise<OpenDatabase<CellTables>> => {
    const database = await open(cellId);
    opened.push(database);
    return database;
  };
  return {
    global: global.db,
    async cell(cellId) {
      let database = cells.get(cellId);
      if (!database) {
        database = openCell(cellId);
        cells.set(cellId, database);
      }
      try {
        const { db, wasLost, prove } = await database;
        // Asked before the caller relies on it: whoever learns here that a cell is down has done nothing yet.
        if (wasLost()) await prove();
        return db;
      } catch (error) {
        if (cells.get(cellId) === database && !(await isOpen(database))) cells.delete(cellId);
        // The global database, where the cell's name is asked for, is no cell.
        throw error instanceof CellDown || error instanceof DatabaseDown ? error : new CellDown(cellId, error);
      }
    },
    statements: () => opened.reduce((sum, each) => sum + each.statements(), global.statements()),
    async close() {
      await Promise.all(opened.map((each) => each.close()));
      await global.close();
    },
  };
}

const isOpen = (database: Promise<unknown>): Promise<boolean> =>
  database.then(
    () => true,
    () => false,
  );

/** True when `directory` holds a deployment's databases. */
export const storesExist = (directory: string): boolean => existsSync(join(directory, 'global.sqlite'));
