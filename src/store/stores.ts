// The databases of a deployment: one global, one per cell. A cell's database is opened when first needed and may fail
// on its own: callers get CellDown for that cell and go on with the others.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { messageOf } from '../lib/errors.ts';
import type { CellTables } from './cell-schema.ts';
import { type OpenDatabase, openSqlite } from './database.ts';
import type { GlobalTables } from './global-schema.ts';
import { CELL_MIGRATIONS, GLOBAL_MIGRATIONS } from './migrations.ts';

/** A cell's database cannot be reached. Its servers are out of reach until it can; nothing else is. */
export class CellDown extends Error {
  override readonly name = 'CellDown';
  readonly cellId: string;
  constructor(cellId: string, cause: unknown) {
    super(`the database of cell ${cellId} cannot be reached: ${messageOf(cause)}`, { cause });
    this.cellId = cellId;
  }
}

export interface Stores {
  readonly global: Kysely<GlobalTables>;
  /** The cell's database. @throws CellDown */
  cell(cellId: string): Promise<Kysely<CellTables>>;
  /** Statements executed in all databases since opening. */
  statements(): number;
  close(): Promise<void>;
}

/** `directory`: where global.sqlite and cells/<id>.sqlite are; ':memory:' keeps everything in memory. */
export async function openStores(directory: string): Promise<Stores> {
  const inMemory = directory === ':memory:';
  if (!inMemory) mkdirSync(join(directory, 'cells'), { recursive: true, mode: 0o700 });
  const global = await openSqlite<GlobalTables>(
    inMemory ? ':memory:' : join(directory, 'global.sqlite'),
    GLOBAL_MIGRATIONS,
  );
  const cells = new Map<string, Promise<OpenDatabase<CellTables>>>();
  const opened: OpenDatabase<CellTables>[] = [];

  const open = async (cellId: string): Promise<OpenDatabase<CellTables>> => {
    const database = await openSqlite<CellTables>(
      inMemory ? ':memory:' : join(directory, 'cells', `${cellId}.sqlite`),
      CELL_MIGRATIONS,
    );
    opened.push(database);
    return database;
  };

  return {
    global: global.db,
    async cell(cellId) {
      let database = cells.get(cellId);
      if (!database) {
        database = open(cellId);
        cells.set(cellId, database);
      }
      try {
        return (await database).db;
      } catch (error) {
        cells.delete(cellId);
        throw new CellDown(cellId, error);
      }
    },
    statements: () => opened.reduce((sum, each) => sum + each.statements(), global.statements()),
    async close() {
      await Promise.all(opened.map((each) => each.close()));
      await global.close();
    },
  };
}

/** True when `directory` holds a deployment's databases. */
export const storesExist = (directory: string): boolean => existsSync(join(directory, 'global.sqlite'));
