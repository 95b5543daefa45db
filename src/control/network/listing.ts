// How every collection of the network service is listed: by the values of its columns, in an order, page by page.
//
// Theory of operation. A collection names the columns that it can be filtered and sorted by, under the API's names. A
// page begins behind its marker: behind the marker's own values of the columns sorted by, its id last, so that equal
// values have an order too. A marker that is not there has nothing behind it (the
// API looks whether it is there when a page is empty). Sorting and paging are the database's, so
// a page costs no more than its rows. Columns that can be null are filtered by alone.
import { type RawBuilder, type SelectQueryBuilder, type SqlBool, sql } from 'kysely';
import type { GlobalTables } from '../../store/global-schema.ts';
import { type TagFilter, tagConditions } from '../../store/tag-filter.ts';

export type Value = string | number;
export interface SortKey {
  readonly by: string;
  readonly descending: boolean;
}
export interface Selection {
  /** By the API's names: each named column has one of its values. Flags are 0 and 1. */
  readonly where?: Readonly<Record<string, readonly Value[]>>;
  readonly tags?: TagFilter;
  readonly sort?: readonly SortKey[];
  readonly limit: number;
  /** An id: what comes behind it; before it, when `reverse`. */
  readonly marker?: string;
  /** The page before the marker. It is answered in the wanted order. */
  readonly reverse?: boolean;
}

export interface Collection {
  /** The table and what the query calls it. */
  readonly table: keyof GlobalTables;
  readonly alias: string;
  /** The table's own columns by the API's names; `id` is always one. */
  readonly columns: Readonly<Record<string, string>>;
}

// biome-ignore lint/suspicious/noExplicitAny: a query over whatever tables were joined; only columns are added to it
type Query<Row> = SelectQueryBuilder<any, any, Row>;

export const one = (id: string): Selection => ({ where: { id: [id] }, limit: 1 });

/** Whether the collection can be filtered and sorted by it. */
export const hasColumn = (collection: Collection, name: string): boolean => Object.hasOwn(collection.columns, name);

/** The rows of the query that the selection asks for, in its order. */
export async function page<Row>(query: Query<Row>, collection: Collection, selection: Selection): Promise<Row[]> {
  const { where = {}, limit, marker, reverse = false } = selection;
  let found = query;
  for (const [name, values] of Object.entries(where)) {
    if (values.length === 0) return [];
    const ref = sql.ref(`${collection.alias}.${columnOf(collection, name)}`);
    found = found.where(sql<SqlBool>`${ref} in (${sql.join(values)})`);
  }
  for (const condition of tagConditions(`${collection.alias}.tags_json`, selection.tags ?? {}))
    found = found.where(condition);
  const keys = sortKeys(collection, selection.sort ?? []);
  if (marker !== undefined) found = found.where(behind(collection, keys, marker, reverse));
  for (const { by, descending } of keys) {
    found = found.orderBy(sql.ref(`${collection.alias}.${by}`), descending !== reverse ? 'desc' : 'asc');
  }
  const rows = await found.limit(limit).execute();
  return reverse ? rows.reverse() : rows;
}

function columnOf(collection: Collection, name: string): string {
  const column = collection.columns[name];
  if (column === undefined) throw new Error(`${collection.table} has no column ${name} to list by`);
  return column;
}

/** With the id last, which no two rows share. */
function sortKeys(collection: Collection, sort: readonly SortKey[]): SortKey[] {
  const keys = sort.map(({ by, descending }) => ({ by: columnOf(collection, by), descending }));
  return keys.some((key) => key.by === 'id') ? keys : [...keys, { by: 'id', descending: false }];
}

/** Equal in the first columns and behind in the next one, for each of them. */
function behind(
  { table, alias }: Collection,
  keys: readonly SortKey[],
  marker: string,
  reverse: boolean,
): RawBuilder<SqlBool> {
  const markers = (by: string) =>
    sql`(select ${sql.ref(by)} from ${sql.table(table)} where ${sql.ref('id')} = ${marker})`;
  const ref = (by: string) => sql.ref(`${alias}.${by}`);
  const cases = keys.map(({ by, descending }, index) => {
    const equal = keys.slice(0, index).map((key) => sql`${ref(key.by)} = ${markers(key.by)} and `);
    const sign = descending !== reverse ? sql`<` : sql`>`;
    return sql`(${sql.join(equal, sql``)}${ref(by)} ${sign} ${markers(by)})`;
  });
  return sql<SqlBool>`(${sql.join(cases, sql` or `)})`;
}
