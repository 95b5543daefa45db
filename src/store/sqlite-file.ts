// A SQLite file: opened and migrated to the newest schema, and opened anew after it was lost.
//
// Lost is a file that SQLite itself cannot use any more: damaged, read-only, without room, locked by somebody for longer
// than the wait, or with a disk below it that fails (`isLoss`). Its connection may then hold what is not so any more, so
// it is closed, and nobody has the file open while it is lost: whoever mends it may put another in its place. Whoever
// comes next tries to open it. It is back when a write to it has landed; if it was said to be damaged, also all of it has
// been looked at, once for each state in which the file is. A file that is gone or empty is not made anew: its contents
// are lost, which must not pass for a cell without servers.
import { closeSync, openSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { SchemaMigration } from './migrations.ts';

/** How long another attempt to open a lost file waits for a lock, ms: nothing else happens meanwhile in this process. */
const REOPEN_WAIT_MS = 20;

const MEMORY = ':memory:';

/** Primary result codes of SQLite (https://sqlite.org/rescode.html) that tell of the file, and of no statement. */
const BUSY = 5;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
const PROTOCOL = 15;
const NOTADB = 26;
const LOSSES = [BUSY, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB];

/** The primary result code; 0: the error is none of SQLite's. Extended codes have more in their higher bytes. */
const resultCode = (error: unknown): number =>
  error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' ? error.errcode & 0xff : 0;

/**
 * Whether the error says that the database cannot be used. All others (CONSTRAINT, ERROR, MISMATCH, MISUSE, …) say that a
 * statement is wrong, which is a defect of ours and would go wrong on any database.
 */
export const isLoss = (error: unknown): boolean => LOSSES.includes(resultCode(error));

const isDamage = (error: unknown): boolean => [CORRUPT, NOTADB].includes(resultCode(error));

export class SqliteFile {
  readonly #path: string;
  readonly #migrations: readonly SchemaMigration[];
  readonly #busyTimeoutMs: number;
  /** It was said to be damaged, and has not been looked through since. */
  #suspect = false;
  /** How the file was when it was last found damaged. */
  #condemned: string | null = null;

  /**
   * @param path file path, or ':memory:'
   * @param busyTimeoutMs how long a statement waits for another process
   */
  constructor(path: string, migrations: readonly SchemaMigration[], busyTimeoutMs: number) {
    this.#path = path;
    this.#migrations = migrations;
    this.#busyTimeoutMs = busyTimeoutMs;
  }

  /** Opens the file, and makes it if there is none. */
  open(): DatabaseSync {
    // Made before SQLite does, for the owner alone; SQLite gives its other files the mode of this one.
    const inMemory = this.#path === MEMORY;
    if (!inMemory) closeSync(openSync(this.#path, 'a', 0o600));
    return openWith(this.#path, this.#busyTimeoutMs, (sqlite) => {
      // In memory, for tests and simulations, copying the pages that change is most of the work: small ones are faster.
      if (inMemory) sqlite.exec('pragma page_size = 512');
      prepare(sqlite, this.#migrations);
    });
  }

  /**
   * Opens the file anew. What is in memory stays as it is.
   * @param lost its connection, which is closed if it is not yet
   * @param loss what it said
   * @throws while the file cannot be used
   */
  reopen(lost: DatabaseSync, loss: unknown): DatabaseSync {
    if (this.#path === MEMORY) return lost;
    if (lost.isOpen) lost.close();
    this.#suspect ||= isDamage(loss);
    if (this.#look() === this.#condemned) throw new Error('the file is still damaged');
    let damaged = false;
    try {
      return openWith(this.#path, REOPEN_WAIT_MS, (sqlite) => {
        if (this.#suspect) {
          damaged = true;
          examine(sqlite);
          damaged = false;
        }
        if (newestOf(sqlite) === 0) throw new Error('the file has no schema');
        prepare(sqlite, this.#migrations);
        // Written whatever it was before.
        sqlite.exec(`pragma user_version = 1; pragma busy_timeout = ${this.#busyTimeoutMs}`);
        this.#suspect = false;
      });
    } catch (error) {
      // Looked at when it is closed, which may have changed it.
      if (damaged) this.#condemned = this.#look();
      throw error;
    }
  }

  /** Tells one state of the file from another. @throws when there is none */
  #look(): string {
    const { ino, size, mtimeMs, ctimeMs } = statSync(this.#path);
    if (size === 0) throw new Error('the file is empty');
    return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  }
}

/** A database that is gone when it is closed. */
export const openInMemory = (migrations: readonly SchemaMigration[]): DatabaseSync =>
  new SqliteFile(MEMORY, migrations, 0).open();

/** A connection that has been prepared, or none. */
function openWith(path: string, timeout: number, prepared: (sqlite: DatabaseSync) => void): DatabaseSync {
  const sqlite = new DatabaseSync(path, { timeout });
  try {
    prepared(sqlite);
    return sqlite;
  } catch (error) {
    sqlite.close();
    throw error;
  }
}

/** Looks through the whole file: some hundred MB a second. @throws at the first thing that is wrong */
function examine(sqlite: DatabaseSync): void {
  const found = Object.values(sqlite.prepare('pragma integrity_check(1)').get() ?? {})[0];
  if (found !== 'ok') throw new Error(`the file is damaged: ${found}`);
}

function prepare(sqlite: DatabaseSync, migrations: readonly SchemaMigration[]): void {
  sqlite.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on;');
  migrate(sqlite, migrations);
}

function migrate(sqlite: DatabaseSync, migrations: readonly SchemaMigration[]): void {
  sqlite.exec('begin immediate');
  try {
    sqlite.exec(
      'create table if not exists schema_migrations (number integer primary key, title text not null, applied_at bigint not null)',
    );
    const newest = newestOf(sqlite);
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
    if (sqlite.isTransaction) sqlite.exec('rollback');
    throw error;
  }
}

const newestOf = (sqlite: DatabaseSync): number =>
  Number(sqlite.prepare('select coalesce(max(number), 0) as newest from schema_migrations').get()?.['newest']);
