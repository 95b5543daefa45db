// The audited system in slices, so that one of any size needs the memory of a small one.
//
// Theory of operation. Nearly everything hangs on a server's id. A slice is a range of ids, behind `after` and up to
// `upTo`; whatever concerns those servers is read and judged together, then forgotten. A slice ends where the first of
// the large tables has SLICE_ROWS rows in it, so no table brings more than that (nor much more, where several rows have
// one server). What hangs on no server (hosts' sums, the providers) belongs to the first slice.
// Ids are lower-case UUIDs: text sorts the same in every collation, here and in the databases.
import type { Kysely } from 'kysely';
import type { GlobalTables } from '../../store/global-schema.ts';

export interface Slice {
  /** '' in the first. */
  readonly after: string;
  /** Null in the last. */
  readonly upTo: string | null;
}

export const EVERYTHING: Slice = { after: '', upTo: null };
export const SLICE_ROWS = 5000;

export const within = (slice: Slice, id: string): boolean =>
  id > slice.after && (slice.upTo === null || id <= slice.upTo);

/** The slice behind `after`. */
export async function nextSlice(db: Kysely<GlobalTables>, after: string, rows = SLICE_ROWS): Promise<Slice> {
  const ends: string[] = [];
  const homes = db.selectFrom('server_mappings').select('server_id as id').where('deleted_at', 'is', null);
  const consumers = db.selectFrom('consumers').select('server_id as id');
  const ports = db.selectFrom('ports').select('device_id as id');
  const [last, one] = [rows - 1, 1];
  for (const found of [
    await homes.where('server_id', '>', after).orderBy('server_id').offset(last).limit(one).executeTakeFirst(),
    await consumers.where('server_id', '>', after).orderBy('server_id').offset(last).limit(one).executeTakeFirst(),
    await ports.where('device_id', '>', after).orderBy('device_id').offset(last).limit(one).executeTakeFirst(),
  ]) {
    if (found) ends.push(found.id);
  }
  return { after, upTo: ends.sort()[0] ?? null };
}

/** Values of one `in (…)`. */
const AT_A_TIME = 500;

/** What `read` finds of the values, asked for in as many statements as it takes. */
export async function inPieces<Row>(
  values: Iterable<string>,
  read: (some: readonly string[]) => Promise<readonly Row[]>,
): Promise<Row[]> {
  const all = [...values];
  const found: Row[] = [];
  for (let first = 0; first < all.length; first += AT_A_TIME) {
    found.push(...(await read(all.slice(first, first + AT_A_TIME))));
  }
  return found;
}

/** The query, for rows alone whose `column` (of text) is in the slice. One shape of paged reading for all tables. */
export function inSlice<Q extends { where(column: never, op: never, value: never): Q }>(
  query: Q,
  column: string,
  { after, upTo }: Slice,
): Q {
  const where = (to: Q, op: '>' | '<=', value: string): Q => to.where(column as never, op as never, value as never);
  const behind = where(query, '>', after);
  return upTo === null ? behind : where(behind, '<=', upTo);
}
