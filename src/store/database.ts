// Opening a database: node:sqlite behind Kysely, WAL, synchronous=FULL.
//
// One connection per database and process. Kysely serialises everything on it, so a transaction excludes every other
// statement of this process; other processes are kept out by BEGIN IMMEDIATE and wait at most BUSY_TIMEOUT_MS.
// A database that is lost (sqlite-file.ts says when) is DatabaseDown, or what the opener calls it, for whoever meets that;
// the next one that needs it tries to open it anew. Whoever holds a Kysely may go on using it.
// Every statement that a connection executes is counted (`statements`), BEGIN and COMMIT included.
import type { DatabaseSync, StatementSync } from 'node:sqlite';
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
  sql,
  ValueNode,
} from 'kysely';
import { messageOf } from '../lib/errors.ts';
import type { SchemaMigration } from './migrations.ts';
import { isLoss, SqliteFile } from './sqlite-file.ts';

const BUSY_TIMEOUT_MS = 10_000;
const CACHED_STATEMENTS = 500;

export interface OpenDatabase<Tables> {
  readonly db: Kysely<Tables>;
  /** Statements executed since opening. */
  statements(): number;
  /** True from a loss until the database has been proven to work again. */
  wasLost(): boolean;
  /** Whether it works again: a write to it lands. @throws when it does not */
  prove(): Promise<void>;
  close(): Promise<void>;
}

/** A database cannot be used: its server cannot be reached, the connection to it broke, or it does not read and write. */
export class DatabaseDown extends Error {
  override readonly name = 'DatabaseDown';
  constructor(cause: unknown) {
    super(`the database cannot be reached: ${messageOf(cause)}`, { cause });
  }
}

export interface SqliteOptions {
  /** How long a statement waits for another process, ms; this process stands still meanwhile. */
  readonly busyTimeoutMs?: number;
  /** Makes the error that is thrown when the database cannot be used. */
  readonly down?: (cause: unknown) => Error;
}

const databaseDown = (cause: unknown): Error => new DatabaseDown(cause);

/**
 * Opens (creates, migrates) a SQLite database.
 * @param path file path, or ':memory:'
 */
export async function openSqlite<Tables>(
  path: string,
  migrations: readonly SchemaMigration[],
  { busyTimeoutMs = BUSY_TIMEOUT_MS, down = databaseDown }: SqliteOptions = {},
): Promise<OpenDatabase<Tables>> {
  const file = new SqliteFile(path, migrations, busyTimeoutMs);
  const connection = new SqliteConnection(file.open(), (lost, loss) => file.reopen(lost, loss), down);
  const db = overConnection<Tables>(connection);
  return {
    db,
    statements: () => connection.executed,
    wasLost: () => connection.loss !== null,
    // Any statement would do: the first behind a loss opens the database anew.
    prove: async () => void (await sql`select 1`.execute(db)),
    close: async () => {
      await db.destroy();
      connection.close();
    },
  };
}

/** Kysely over the connection, which outlives it. */
export const overConnection = <Tables>(connection: SqliteConnection): Kysely<Tables> =>
  new Kysely<Tables>({ dialect: sqliteDialect(driverOn(connection)) });

interface Prepared {
  readonly statement: StatementSync;
  /** Whether it answers with rows. */
  readonly answers: boolean;
}

export class SqliteConnection implements DatabaseConnection {
  executed = 0;
  /** What was said when the database was lost; null: it works, as far as is known. */
  loss: { readonly error: unknown } | null = null;
  /** The holder has not executed anything yet. */
  private begins = false;
  private sqlite: DatabaseSync;
  private readonly reopen: (lost: DatabaseSync, loss: unknown) => DatabaseSync;
  private readonly down: (cause: unknown) => Error;
  private readonly prepared = new Map<string, Prepared>();
  private waiting: Promise<void> = Promise.resolve();
  private free: () => void = () => undefined;

  /** @param reopen makes the connection anew behind a loss, or throws; by default it goes on with the one that it has */
  constructor(sqlite: DatabaseSync, reopen = (lost: DatabaseSync, _loss: unknown) => lost, down = databaseDown) {
    this.sqlite = sqlite;
    this.reopen = reopen;
    this.down = down;
  }

  /** Waits for its turn; whoever holds the connection runs a transaction or one statement. */
  async acquire(): Promise<void> {
    const before = this.waiting;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.waiting = before.then(() => promise);
    await before;
    this.free = resolve;
    this.begins = true;
  }

  release(): void {
    this.free();
  }

  /**
   * Behind a loss the database is opened anew for the first statement of a holder, and only there: no transaction begins on
   * one connection and ends on another, or, where SQLite has rolled back by itself, goes on without one.
   */
  executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const result = this.watched(() => {
      if (this.loss !== null) this.recover(this.loss.error);
      this.begins = false;
      return this.execute<R>(query);
    });
    return Promise.resolve(result);
  }

  rollback(): void {
    if (this.sqlite.isTransaction) this.watched(() => this.sqlite.exec('rollback'));
  }

  close(): void {
    if (this.sqlite.isOpen) this.sqlite.close();
  }

  // biome-ignore lint/correctness/useYield: the interface asks for a generator; no query here is streamed
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('streaming is not supported');
  }

  private recover(loss: unknown): void {
    if (!this.begins) throw this.down(loss);
    this.prepared.clear();
    try {
      this.sqlite = this.reopen(this.sqlite, loss);
    } catch (error) {
      throw this.down(error);
    }
    this.loss = null;
  }

  private watched<T>(work: () => T): T {
    this.executed += 1;
    try {
      return work();
    } catch (error) {
      if (!isLoss(error)) throw error;
      this.loss = { error };
      throw this.down(error);
    }
  }

  private execute<R>(query: CompiledQuery): QueryResult<R> {
    const { statement, answers } = this.prepare(query.sql);
    const parameters = query.parameters as (string | number | bigint | null | Uint8Array)[];
    if (answers) return { rows: statement.all(...parameters) as R[] };
    const { changes, lastInsertRowid } = statement.run(...parameters);
    return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
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
    rollbackTransaction: async () => connection.rollback(),
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
