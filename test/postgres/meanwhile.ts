// Two that meet at the same rows: the second begins when the first has written and not ended.
import { type Kysely, sql } from 'kysely';
import type { GlobalTables } from '../../src/store/global-schema.ts';

/** What the others answer that are begun, one by one, while a transaction has done the work and not ended: each waits. */
export async function meanwhile<T>(
  db: Kysely<GlobalTables>,
  work: (trx: Kysely<GlobalTables>) => Promise<unknown>,
  ...others: (() => Promise<T>)[]
): Promise<T[]> {
  const begun: Promise<T>[] = [];
  await db.transaction().execute(async (trx) => {
    await work(trx);
    for (const other of others) {
      begun.push(other());
      await waiting(db, begun.length);
    }
  });
  return Promise.all(begun);
}

/** Until so many sessions wait for a lock that another one has. */
export async function waiting(db: Kysely<GlobalTables>, sessions: number): Promise<void> {
  for (;;) {
    const { rows } = await sql`select distinct pid from pg_locks where not granted`.execute(db);
    if (rows.length >= sessions) return;
  }
}
