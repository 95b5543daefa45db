// What SQL has to say differently on SQLite and PostgreSQL, in one place.
//
// On SQLite a transaction that may write begins with `begin immediate` and so excludes every other one: what it has read
// stays true until it ends. On PostgreSQL transactions run side by side (READ COMMITTED: every statement sees what has
// been committed before it). Whoever reads something there and writes because of it says so with a lock from here: on
// the row read, or, where there is no one row, on a name. Locks last until the transaction ends; on SQLite they are
// nothing, for nobody else is there. Two transactions never wait for each other: a name is asked for before any row that
// others may want, and whoever holds the sequence of fences waits for nobody who may want it too.
import { type Kysely, PostgresAdapter, type RawBuilder, type SqlBool, sql } from 'kysely';

// biome-ignore lint/suspicious/noExplicitAny: a database of whatever tables; only its dialect is looked at
type AnyDb = Kysely<any>;

export const isPostgres = (db: AnyDb): boolean => db.getExecutor().adapter instanceof PostgresAdapter;

/**
 * The rest of the transaction runs alone among those that ask for the same name.
 * @param trx a transaction
 */
export async function exclusively(trx: AnyDb, name: string): Promise<void> {
  if (isPostgres(trx)) await sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`.execute(trx);
}

/** Runs `work` in `db` when that is a transaction, else in one of its own. */
export const atomically = <Tables, T>(db: Kysely<Tables>, work: (trx: Kysely<Tables>) => Promise<T>): Promise<T> =>
  db.isTransaction ? work(db) : db.transaction().execute(work);

/**
 * Whether the column is one of the values: one parameter and one text of the statement, however many values. The query
 * builder takes longer over hundreds of parameters than the database over the statement.
 */
export const isAmong = (db: AnyDb, column: string, values: readonly string[]): RawBuilder<SqlBool> =>
  isListed(db, column, listed(db, values));

/** Values as the one parameter of `isListed`. */
export type Listed = string | readonly string[];

export const listed = (db: AnyDb, values: readonly string[]): Listed =>
  isPostgres(db) ? values : JSON.stringify(values);

/** As isAmong, for statements that are put together once (fixed.ts): the list is given at each execution. */
export const isListed = (db: AnyDb, column: string, list: Listed): RawBuilder<SqlBool> =>
  isPostgres(db)
    ? sql<SqlBool>`${sql.ref(column)} = any(${list}::text[])`
    : sql<SqlBool>`${sql.ref(column)} in (select value from json_each(${list}))`;

/** Whether a column's text has this in it, letter by letter; SQLite's LIKE takes `a` and `A` for the same. */
export const holdsText = (column: string, text: string): RawBuilder<boolean> =>
  sql<boolean>`replace(${sql.ref(column)}, ${text}, '') <> ${sql.ref(column)}`;

/**
 * Whether a column that has a list or an object as JSON.stringify writes it has this entry, or one that begins so. `entry`
 * is JSON from its first quote on: within a string, that quote would be escaped.
 */
export const holdsEntry = (column: string, entry: string): RawBuilder<boolean> =>
  sql<boolean>`(${sql.join(
    ['[', '{', ','].map((before) => holdsText(column, `${before}${entry}`)),
    sql` or `,
  )})`;

/** For the end of a raw select: nobody changes its rows before the transaction (or the statement) ends. */
export const forShare = (db: AnyDb): RawBuilder<unknown> => (isPostgres(db) ? sql`for share` : sql``);

/** The same, but they may be changed: they are still there when the transaction ends. */
export const forKeyShare = (db: AnyDb): RawBuilder<unknown> => (isPostgres(db) ? sql`for key share` : sql``);

/** As a modifier of a select: its rows are locked; `wait` false: rows that others hold are left out. */
export function forUpdate(db: AnyDb, wait = true): RawBuilder<unknown> {
  if (!isPostgres(db)) return sql``;
  return wait ? sql`for update` : sql`for update skip locked`;
}

/** Milliseconds since the Unix epoch by the database's own clock, at this instant. PostgreSQL alone. */
export const DATABASE_NOW = sql<number>`(floor(extract(epoch from clock_timestamp()) * 1000))::bigint`;
