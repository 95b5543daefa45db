// Opening a PostgreSQL database: a pool of node-postgres connections behind Kysely, migrated to the newest schema.
//
// Whatever shows that the server or the connection is gone, or that the database does not read and write, is thrown as
// DatabaseDown, so that callers can tell it from a defect; the pool connects anew by itself. A transaction whose
// process stalls must not hold its locks: the server ends a session that does nothing inside a transaction for
// STALLED_TRANSACTION_MS. A transaction that the server gave up because two waited for each other counts as that too:
// nothing of it happened, and trying again will do. A reply lost at commit is an error although the commit may have
// landed, as with every other lost reply.
import {
  HandleEmptyInListsPlugin,
  Kysely,
  PostgresDialect,
  type PostgresPool,
  type PostgresPoolClient,
  replaceWithNoncontingentExpression,
  sql,
} from 'kysely';
import pg from 'pg';
import { DatabaseDown, type OpenDatabase } from './database.ts';
import { exclusively } from './dialect.ts';
import type { SchemaMigration } from './migrations.ts';

const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 30_000;
/** The server says by itself that a statement takes too long; this is for one that says nothing any more. */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5_000;
const STALLED_TRANSACTION_MS = 3_000;

export interface PostgresOptions {
  /** Most connections at a time. */
  readonly connections: number;
  /** Wait this long for a statement's answer, ms. */
  readonly answerTimeoutMs?: number;
  /** Makes the error that is thrown when the database cannot be reached. */
  readonly down?: (cause: unknown) => Error;
}

/** @param url `postgresql://user@host:port/database`; the database exists, its tables need not */
export async function openPostgres<Tables>(
  url: string,
  migrations: readonly SchemaMigration[],
  { connections, answerTimeoutMs = ANSWER_TIMEOUT_MS, down = (cause) => new DatabaseDown(cause) }: PostgresOptions,
): Promise<OpenDatabase<Tables>> {
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: answerTimeoutMs,
    idle_in_transaction_session_timeout: STALLED_TRANSACTION_MS,
    application_name: 'crosscell',
    keepAlive: true,
    types: { getTypeParser },
  });
  // A connection that broke while nobody used it: the pool has thrown it away, the next statement takes another.
  pool.on('error', () => undefined);
  const seen = { statements: 0, lost: false };
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: watched(pool, seen, down) }),
    // `in ()` is an error of syntax to PostgreSQL; on SQLite nothing is in an empty list.
    plugins: [new HandleEmptyInListsPlugin({ strategy: replaceWithNoncontingentExpression })],
  });
  try {
    await migrate(db, migrations);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return {
    db,
    statements: () => seen.statements,
    wasLost: () => seen.lost,
    async prove() {
      const { numAffectedRows } = await sql`update schema_migrations set applied_at = applied_at`.execute(db);
      if (numAffectedRows === 0n) throw down(new Error('the database has no schema'));
      seen.lost = false;
    },
    close: () => db.destroy(),
  };
}

const INT8 = 20;
const NUMERIC = 1700;

/** 64-bit integers and sums are numbers, as on SQLite: all of ours are below 2^53. */
const getTypeParser = ((oid: number, format?: 'text') =>
  oid === INT8 || oid === NUMERIC ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser;

interface Seen {
  statements: number;
  /** The server could not be reached, or the database not be used, and has not been proven to work since. */
  lost: boolean;
}

/** The pool as Kysely sees it: statements counted, lost connections told from other errors. */
function watched(pool: pg.Pool, seen: Seen, down: (cause: unknown) => Error): PostgresPool {
  const clients = new WeakMap<pg.PoolClient, PostgresPoolClient>();
  const wrap = (client: pg.PoolClient): PostgresPoolClient => {
    // An answer may still be owed to it: nobody else may have this connection.
    let silent = false;
    // Nor one on which the database was lost: the next is made to what is there by then.
    let spoilt = false;
    const query = async (text: string, parameters: readonly unknown[]): Promise<unknown> => {
      if (silent) throw down(new Error('the server has not answered on this connection'));
      seen.statements += 1;
      try {
        return await client.query(text, [...parameters]);
      } catch (error) {
        if (isDeadlock(error)) throw down(error);
        if (!isLoss(error)) throw error;
        seen.lost = true;
        spoilt = true;
        silent ||= isSilence(error);
        throw down(error);
      }
    };
    return {
      query: query as PostgresPoolClient['query'],
      release: (destroy) => client.release(destroy === true || spoilt),
    };
  };
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      let client: pg.PoolClient;
      try {
        client = await pool.connect();
      } catch (error) {
        seen.lost = true;
        throw down(error);
      }
      let known = clients.get(client);
      if (!known) {
        // Errors of a connection that is in use reach its statements too; without a listener they would end the process.
        client.on('error', () => undefined);
        known = wrap(client);
        clients.set(client, known);
      }
      return known;
    },
  };
}

/** What node-postgres says when `query_timeout` has passed. */
const isSilence = (error: unknown): boolean => error instanceof Error && /read timeout/i.test(error.message);

/**
 * SQLSTATEs that tell of the server and of no statement: classes 08 (connection), 53 (no room, no memory), 57P (shutting
 * down, starting up), 58 (disk errors), XX (damaged data) and 25006 (read-only), 25P03 and 25P04 (session ended by a
 * limit), 57014 (it took longer than STATEMENT_TIMEOUT_MS).
 */
const LOST = /^(08...|53...|57P..|58...|XX...|25006|25P03|25P04|57014)$/;

/** SQLSTATE 40001 (serialization failure) and 40P01 (deadlock detected). */
const isDeadlock = (error: unknown): boolean =>
  error instanceof pg.DatabaseError && (error.code === '40001' || error.code === '40P01');

function isLoss(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (error instanceof pg.DatabaseError) return LOST.test(code);
  // What is no answer of the server comes from the socket or from node-postgres, which gives its errors no code.
  return /^E[A-Z]+$/.test(code) || isSilence(error) || /connection|not queryable/i.test(error.message);
}

async function migrate<Tables>(db: Kysely<Tables>, migrations: readonly SchemaMigration[]): Promise<void> {
  await db.transaction().execute(async (trx) => {
    await exclusively(trx, 'schema migrations');
    await sql`create table if not exists schema_migrations
      (number integer primary key, title text not null, applied_at bigint not null)`.execute(trx);
    const { rows } = await sql<{ newest: number }>`
      select coalesce(max(number), 0) as newest from schema_migrations`.execute(trx);
    const newest = rows[0]?.newest ?? 0;
    const known = migrations.at(-1)?.number ?? 0;
    if (newest > known)
      throw new Error(`the database has schema ${newest}, this program knows ${known}: use a newer crosscell`);
    for (const { number, title, statements } of migrations.filter((each) => each.number > newest)) {
      for (const statement of statements) {
        await sql
          .raw(statement.replace('{{serial}}', 'integer generated by default as identity primary key'))
          .execute(trx);
      }
      await sql`insert into schema_migrations (number, title, applied_at)
        values (${number}, ${title}, ${Date.now()})`.execute(trx);
    }
  });
}
