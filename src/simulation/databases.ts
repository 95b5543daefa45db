// The databases of simulated worlds: SQLite in memory, one global and one per cell, shared by all processes of a world.
//
// Theory of operation. Each process has connections of its own, as it would to a server; who holds a database's one real
// connection runs a transaction or one statement, and the others wait for their turn. Before it gets its turn and after
// it has let go, a process passes its gate, where it may be slow, stalled or dead: so it is stopped between statements,
// and a transaction happens as a whole or not at all.
// What a world writes lies behind a savepoint. `reset` rolls back to it: the next world finds its furniture as it was put
// there, and the statements prepared, which makes a world thousands of times cheaper than opening one. A transaction of
// the product is therefore a savepoint inside that one.
// Every change of a server's states is written down by triggers (`transitions`), in order and only when it is committed.
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Kysely } from 'kysely';
import type { CellTables } from '../store/cell-schema.ts';
import { SqliteConnection } from '../store/database.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { CELL_MIGRATIONS, GLOBAL_MIGRATIONS, type SchemaMigration } from '../store/migrations.ts';
import { openInMemory } from '../store/sqlite-file.ts';
import { CellDown, type Stores } from '../store/stores.ts';
import { connected, type Gate, Turns } from './connections.ts';

class Database {
  readonly sqlite: DatabaseSync;
  readonly #connection: SqliteConnection;
  readonly #asked = new Map<string, StatementSync>();
  #turns: Turns = new Turns();

  constructor(migrations: readonly SchemaMigration[]) {
    this.sqlite = openInMemory(migrations);
    this.#connection = new SqliteConnection(this.sqlite);
  }

  /** From here on everything can be taken back. */
  mark(): void {
    this.sqlite.exec('savepoint world');
  }

  reset(): void {
    this.sqlite.exec('rollback to world');
    // Whoever of the last world holds a turn will never give it back.
    this.#turns = new Turns();
  }

  connect<Tables>(gate: Gate, check: () => void): Kysely<Tables> {
    return connected<Tables>({ connection: this.#connection, turns: this.#turns, gate, check });
  }

  /** Rows that a statement answers, at once, whoever has the turn. */
  ask(sql: string, parameters: readonly (string | number)[]): readonly Readonly<Record<string, unknown>>[] {
    const known = this.#asked.get(sql) ?? this.sqlite.prepare(sql);
    this.#asked.set(sql, known);
    return known.all(...parameters);
  }

  close(): void {
    this.sqlite.close();
  }
}

const WATCH_STATES = `
  create temp table states (n integer primary key, server_id text, vm_state text, task_state text);
  create temp trigger states_insert after insert on servers begin
    insert into states (server_id, vm_state, task_state) values (new.id, new.vm_state, new.task_state); end;
  create temp trigger states_update after update of vm_state, task_state on servers begin
    insert into states (server_id, vm_state, task_state) values (new.id, new.vm_state, new.task_state); end;
  create temp trigger states_delete after delete on servers begin
    insert into states (server_id, vm_state, task_state) values (old.id, null, null); end;`;

/** Ids of volumes that more than one server may use at once, those of deleted ones too. */
const WATCH_SHARED = `
  create temp table shared_volumes (id text primary key);
  create temp trigger shared_volumes_insert after insert on volumes when new.multiattach = 1 begin
    insert into shared_volumes (id) values (new.id); end;`;

/** A record's states in one cell; vm_state null: the record is gone from there. */
export interface Transition {
  readonly serverId: string;
  readonly vmState: string | null;
  readonly taskState: string | null;
}

export class Databases {
  readonly #global = new Database(GLOBAL_MIGRATIONS);
  readonly #cells = new Map<string, Database>();

  constructor() {
    this.#global.sqlite.exec(WATCH_SHARED);
  }

  /** The databases as one process reaches them. @param isDown whether a cell's database cannot be reached now */
  storesFor(gate: Gate, isDown: (cellId: string) => boolean): Stores {
    const connected = new Map<string, Kysely<CellTables>>();
    const check = (cellId: string): void => {
      if (isDown(cellId)) throw new CellDown(cellId, 'connection refused');
    };
    return {
      global: this.#global.connect<GlobalTables>(gate, () => undefined),
      cell: async (cellId) => {
        check(cellId);
        const known = connected.get(cellId);
        if (known) return known;
        const made = this.open(cellId).connect<CellTables>(gate, () => check(cellId));
        connected.set(cellId, made);
        return made;
      },
      statements: () => 0,
      close: async () => undefined,
    };
  }

  /** The cell's database, made when it is asked for first. */
  open(cellId: string): Database {
    const known = this.#cells.get(cellId);
    if (known) return known;
    const made = new Database(CELL_MIGRATIONS);
    made.sqlite.exec(WATCH_STATES);
    this.#cells.set(cellId, made);
    return made;
  }

  /** Statements that change a database for all worlds to come: triggers that switch a part of the safety off. */
  change(global: string, cell: string): void {
    this.#global.sqlite.exec(global);
    for (const { sqlite } of this.#cells.values()) sqlite.exec(cell);
  }

  mark(): void {
    this.#global.mark();
    for (const each of this.#cells.values()) each.mark();
  }

  reset(): void {
    this.#global.reset();
    for (const each of this.#cells.values()) each.reset();
  }

  /** The one number that a statement on the global database answers, without a process, at once. */
  count(sql: string): number {
    return Number(Object.values(this.#global.ask(sql, [])[0] ?? {})[0]);
  }

  /** Rows of the global database, without a process, at once. */
  rows(sql: string, ...parameters: readonly (string | number)[]): readonly Readonly<Record<string, unknown>>[] {
    return this.#global.ask(sql, parameters);
  }

  /** Ids of all volumes ever made that more than one server may use at once. */
  sharedVolumes(): ReadonlySet<string> {
    return new Set(this.rows('select id from shared_volumes').map((row) => String(row['id'])));
  }

  /** Of each cell, in order, every change of a record's states. */
  transitions(): readonly (readonly Transition[])[] {
    return [...this.#cells.values()].map((database) =>
      database.ask('select server_id, vm_state, task_state from states order by n', []).map((row) => ({
        serverId: String(row['server_id']),
        vmState: row['vm_state'] === null ? null : String(row['vm_state']),
        taskState: row['task_state'] === null ? null : String(row['task_state']),
      })),
    );
  }

  close(): void {
    this.#global.close();
    for (const each of this.#cells.values()) each.close();
  }
}
