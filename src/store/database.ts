// Opening a database: node:sqlite behind Kysely, WAL, synchronous=FULL, migrated to the newest schema.
//
// One connection per database and process. Kysely serialises everything on it, so a transaction excludes every other
// statement of this process; other processes are kept out by BEGIN IMMEDIATE and wait at most BUSY_TIMEOUT_MS.
// Every statement that a connection executes is counted (`statements`), BEGIN and COMMIT included.
import { closeSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  Kysely,
  type LimitNode,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  ValueNode,
} from 'kysely';
import { messageOf } from '../lib/errors.ts';
import type { SchemaMigration } from './migrations.ts';

const BUSY_TIMEOUT_MS = 10_000;
const CACHED_STATEMENTS = 500;

export interface OpenDatabase<Tables> {
  readonly db: Kysely<Tables>;
  /** Statements executed since opening. */
  statements(): number;
  /** True while the last that was heard of its server is that it cannot be reached. Absent: there is no server. */
  readonly wasLost?: () => boolean;
  close(): Promise<void>;
}

/** A server's database cannot be reached, or the connection to it broke. */
export class DatabaseDown extends Error {
  override readonly name = 'DatabaseDown';
  constructor(cause: unknown) {
    super(`the database cannot be reached: ${messageOf(cause)}`, { cause });
  }
}

/**
 * Opens (creates, migrates) a SQLite database.
 * @param path file path, or ':memory:'
 */
export async function openSqlite<Tables>(
  path: string,
  migrations: readonly SchemaMigration[],
): Promise<OpenDatabase<Tables>> {
  // Made before SQLite does, for the owner alone; SQLite gives its other files the mode of this one.
  if (path !== ':memory:') closeSync(openSync(path, 'a', 0o600));
  const connection = new SqliteConnection(openMigrated(path, migrations));
  const db = overConnection<Tables>(connection);
  return {
    db,
    statements: () => connection.executed,
    close: async () => {
      await db.destroy();
      connection.close();
    },
  };
}

/** Kysely over the connection, which outlives it. */
export const overConnection = <Tables>(connection: SqliteConnection): Kysely<Tables> =>
  new Kysely<Tables>({ dialect: sqliteDialect(driverOn(connection)) });

/** The bare database behind `openSqlite`: opened, and migrated to the newest schema. */
export function openMigrated(path: string, migrations: readonly SchemaMigration[]): DatabaseSync {
  const sqlite = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  // In memory, for tests and simulations, copying the pages that change is most of the work: small ones are faster.
  if (path === ':memory:') sqlite.exec('pragma page_size = 512');
  sqlite.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on;');
  migrate(sqlite, migrations);
  return sqlite;
}

function migrate(sqlite: DatabaseSync, migrations: readonly SchemaMigration[]): void {
  sqlite.exec('begin immediate');
  try {
    sqlite.exec(
      'create table if not exists schema_migrations (number integer primary key, title text not null, applied_at bigint not null)',
    );
    const newest = Number(
      sqlite.prepare('select coalesce(max(number), 0) as newest from schema_migrations').get()?.['newest'],
    );
    const known = migrations.at(-1)?.number ?? 0;
    if (newest > known)
      throw new Error(`the database has schema ${newest}, this program knows ${known}: use a newer crosscell`);
    for (const migration of migrations.filter((each) => each.number > newest)) {
      for (const statement of migration.statements) {
        sqlite.exec(statement.replace('{{serial}}', 'integer primary key autoincrement'));
      }
      sqlite
        .prepare('insert into schema_migrations (number, title, applied_at) values (?, ?, ?)')
        .run(migration.number, migration.title, Date.now());
    }
    sqlite.exec('commit');
  } catch (error) {
    sqlite.exec('rollback');
    throw error;
  }
}

interface Prepared {
  readonly statement: StatementSync;
  /** Whether it answers with rows. */
  readonly answers: boolean;
}

export class SqliteConnection implements DatabaseConnection {
  executed = 0;
  private readonly sqlite: DatabaseSync;
  private readonly prepared = new Map<string, Prepared>();
  private waiting: Promise<void> = Promise.resolve();
  private free: () => void = () => undefined;

  constructor(sqlite: DatabaseSync) {
    this.sqlite = sqlite;
  }

  /** Waits for its turn; whoever holds the connection runs a transaction or one statement. */
  async acquire(): Promise<void> {
    const before = this.waiting;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.waiting = before.then(() => promise);
    await before;
    this.free = resolve;
  }

  release(): void {
    this.free();
  }

  executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    this.executed += 1;
    const { statement, answers } = this.prepare(query.sql);
    const parameters = query.parameters as (string | number | bigint | null | Uint8Array)[];
    if (answers) {
      return Promise.resolve({ rows: statement.all(...parameters) as R[] });
    }
    const { changes, lastInsertRowid } = statement.run(...parameters);
    return Promise.resolve({ rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) });
  }

  close(): void {
    this.sqlite.close();
  }

  // biome-ignore lint/correctness/useYield: the interface asks for a generator; no query here is streamed
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('streaming is not supported');
  }

  private prepare(sql: string): Prepared {
    const known = this.prepared.get(sql);
    if (known) return known;
    if (this.prepared.size >= CACHED_STATEMENTS) this.prepared.clear();
    const statement = this.sqlite.prepare(sql);
    const made = { statement, answers: statement.columns().length > 0 };
    this.prepared.set(sql, made);
    return made;
  }
}

function driverOn(connection: SqliteConnection): Driver {
  return {
    init: async () => undefined,
    acquireConnection: async () => {
      await connection.acquire();
      return connection;
    },
    releaseConnection: async () => connection.release(),
    beginTransaction: async () => void (await connection.executeQuery(CompiledQuery.raw('begin immediate'))),
    commitTransaction: async () => void (await connection.executeQuery(CompiledQuery.raw('commit'))),
    rollbackTransaction: async () => void (await connection.executeQuery(CompiledQuery.raw('rollback'))),
    destroy: async () => undefined,
  };
}

/** SQLite's words over a driver. */
export function sqliteDialect(driver: Driver): Dialect {
  return {
    createDriver: () => driver,
    createAdapter: () => new SqliteAdapter(),
    createQueryCompiler: () => COMPILER,
    createIntrospector: (db) => new SqliteIntrospector(db),
  };
}

/**
 * Limits are written out. SQLite plans by the value of a limit that is a parameter, and therefore plans such a statement
 * anew whenever it is executed: that takes ten times as long as most of them do.
 */
class PlainLimits extends SqliteQueryCompiler {
  protected override visitLimit(node: LimitNode): void {
    const { limit } = node;
    if (ValueNode.is(limit) && Number.isSafeInteger(limit.value)) this.append(`limit ${limit.value}`);
    else super.visitLimit(node);
  }
}

/** One for all: it holds nothing between two statements, and a new one is a hundred functions bound. */
const COMPILER = new PlainLimits();
