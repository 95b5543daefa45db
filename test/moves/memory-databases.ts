// Databases in memory that one world after the other lives on.
//
// Most of what a new one costs is its schema, and that every statement is prepared anew. So a world that is closed leaves
// its databases to the next one: emptied, and with their prepared statements. It cannot write to them any more (its
// Kysely is destroyed). A database on which something still goes on, or whose schema a test has changed, is thrown away.
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { setImmediate } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import type { CellTables } from '../../src/store/cell-schema.ts';
import { overConnection, SqliteConnection } from '../../src/store/database.ts';
import type { GlobalTables } from '../../src/store/global-schema.ts';
import { CELL_MIGRATIONS, GLOBAL_MIGRATIONS, type SchemaMigration } from '../../src/store/migrations.ts';
import { openInMemory } from '../../src/store/sqlite-file.ts';
import type { Stores } from '../../src/store/stores.ts';

/** Statements that put in what a new database holds. */
export const seedsOf = (migrations: readonly SchemaMigration[]): string[] =>
  migrations.flatMap(({ statements }) => statements.filter((each) => each.startsWith('insert into')));

class Database<Tables> {
  readonly db: Kysely<Tables>;
  readonly #connection: SqliteConnection;
  readonly #before: number;
  readonly #giveBack: () => Promise<void>;

  constructor(connection: SqliteConnection, giveBack: () => Promise<void>) {
    this.db = overConnection<Tables>(connection);
    this.#connection = connection;
    this.#before = connection.executed;
    this.#giveBack = giveBack;
  }

  statements(): number {
    return this.#connection.executed - this.#before;
  }

  async close(): Promise<void> {
    await this.db.destroy();
    await this.#giveBack();
  }
}

interface Free {
  readonly sqlite: DatabaseSync;
  readonly connection: SqliteConnection;
  readonly schema: unknown;
  /** Leave in it what it held when it was new. */
  readonly empty: readonly StatementSync[];
}

/** A number that every change of the schema changes. */
const schemaOf = (sqlite: DatabaseSync): unknown => sqlite.prepare('pragma schema_version').get()?.['schema_version'];

/** Databases of one schema. */
class Kind<Tables> {
  readonly #migrations: readonly SchemaMigration[];
  readonly #free: Free[] = [];

  constructor(migrations: readonly SchemaMigration[]) {
    this.#migrations = migrations;
  }

  open(): Database<Tables> {
    const free = this.#free.pop() ?? this.#make();
    const { sqlite, connection, schema, empty } = free;
    return new Database<Tables>(connection, async () => {
      if (schemaOf(sqlite) === schema && (await isFree(connection))) {
        for (const statement of empty) statement.run();
        this.#free.push(free);
      } else connection.close();
    });
  }

  #make(): Free {
    const sqlite = openInMemory(this.#migrations);
    // The youngest first, which refer to older ones: a pragma against foreign keys has all statements prepared anew.
    const tables = sqlite
      .prepare(
        `select name from sqlite_master where type = 'table' and name <> 'schema_migrations' order by rowid desc`,
      )
      .all();
    const deletes = tables.map(({ name }) => `delete from "${name}"`);
    const empty = ['begin', ...deletes, ...seedsOf(this.#migrations), 'commit'].map((each) => sqlite.prepare(each));
    return { sqlite, connection: new SqliteConnection(sqlite), schema: schemaOf(sqlite), empty };
  }
}

/** Whether nobody has its turn at it, nor waits for one. */
function isFree(connection: SqliteConnection): Promise<boolean> {
  const mine = connection.acquire().then(() => {
    connection.release();
    return true;
  });
  return Promise.race([mine, setImmediate(false)]);
}

const GLOBAL = new Kind<GlobalTables>(GLOBAL_MIGRATIONS);
const CELLS = new Kind<CellTables>(CELL_MIGRATIONS);

export async function openMemory(): Promise<Stores> {
  const global = GLOBAL.open();
  const cells = new Map<string, Database<CellTables>>();
  return {
    global: global.db,
    async cell(cellId) {
      const database = cells.get(cellId) ?? CELLS.open();
      cells.set(cellId, database);
      return database.db;
    },
    statements: () => [...cells.values()].reduce((sum, each) => sum + each.statements(), global.statements()),
    async close() {
      for (const each of [global, ...cells.values()]) await each.close();
    },
  };
}
