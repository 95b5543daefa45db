// Rows of volumes and snapshots, newest first, some at a time: an administrator's list is as long as the cloud is large, and
// whoever reads it may have enough of it soon.
//
// Each part begins behind the last row of the one before, so what is made or deleted meanwhile shifts nothing.
import { type SelectQueryBuilder, type SqlBool, sql } from 'kysely';

// biome-ignore lint/suspicious/noExplicitAny: a query over either table; only columns that both have are added to it
type Query<Row> = SelectQueryBuilder<any, any, Row>;

/** How many rows are read in one go: a page at first, then more. */
const PARTS = { first: 100, most: 2000 };

/** @param from the id of the row to begin with; none come when there is no such row */
export async function* newestFirst<Row extends { readonly id: string; readonly created_at: number }>(
  table: 'volumes' | 'volume_snapshots',
  query: Query<Row>,
  from?: string,
): AsyncGenerator<readonly Row[]> {
  const inOrder = query.orderBy('created_at', 'desc').orderBy('id', 'desc');
  let rest: Query<Row> = inOrder;
  if (from !== undefined) {
    const first = sql`(select f.created_at, f.id from ${sql.table(table)} f where f.id = ${from})`;
    rest = inOrder.where(sql<SqlBool>`(created_at, id) <= ${first}`);
  }
  for (let size = PARTS.first; ; size = Math.min(PARTS.most, size * 2)) {
    const rows: readonly Row[] = await rest.limit(size).execute();
    if (rows.length > 0) yield rows;
    const last = rows.at(-1);
    if (!last || rows.length < size) return;
    rest = inOrder.where(sql<SqlBool>`(created_at, id) < (${last.created_at}, ${last.id})`);
  }
}

/** All of them. */
export async function everyOne<T>(parts: AsyncIterable<readonly T[]>): Promise<T[]> {
  const all: T[] = [];
  for await (const part of parts) all.push(...part);
  return all;
}
