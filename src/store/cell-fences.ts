// The fence of a server in a cell's database: the highest generation that has written there, or taken over.
//
// A server of which nothing is left needs none of its own: the cell's floor refuses every generation below it for servers
// without a row. It only rises. A row goes when the floor has been above its generation since before anybody could still be
// looking (control/history.ts): on PostgreSQL a statement that began before the floor rose, and waited, sees the floor of
// then. A saga that lives and happens to be below the floor where its server has no row is refused too, loses its lease and
// goes on under a fence of its next claim, which is above.
import { type Kysely, sql } from 'kysely';
import { invariant } from '../lib/errors.ts';
import type { CellTables } from './cell-schema.ts';
import { fixed } from './fixed.ts';

interface Raise {
  readonly serverId: string;
  readonly generation: number;
}

/** Its row is the cell's floor. */
const FLOOR = '';

// A server without a row begins at the floor; `where true` lets SQLite tell the conflict from a join.
const RAISE = fixed<CellTables, Raise, { generation: number }>((db, { serverId, generation }) => ({
  compile: () =>
    sql<{ generation: number }>`
      insert into server_fences (server_id, generation)
      select cast(${serverId} as text), case when low.generation > cast(${generation} as bigint) then low.generation
        else cast(${generation} as bigint) end
      from (select coalesce(max(generation), 0) as generation from server_fences where server_id = ${FLOOR}) low
      where true
      on conflict (server_id) do update set generation = case
        when server_fences.generation < cast(${generation} as bigint) then cast(${generation} as bigint)
        else server_fences.generation end
      returning generation`.compile(db),
}));

/**
 * From now on older writers are refused in this cell. Answers the highest generation seen there, this one included.
 * Looking and raising are one statement, which holds the fence's row until the transaction ends: an older writer has
 * then either ended, or has not yet looked and will be refused.
 */
export async function raiseInCell(db: Kysely<CellTables>, serverId: string, generation: number): Promise<number> {
  const [row] = (await RAISE(db, { serverId, generation })).rows;
  invariant(row, 'a fence that was raised is there');
  return row.generation;
}

/** The lowest generation that is taken of servers without a row; 0: any. */
export async function floorOf(db: Kysely<CellTables>): Promise<number> {
  const row = await db
    .selectFrom('server_fences')
    .select('generation')
    .where('server_id', '=', FLOOR)
    .executeTakeFirst();
  return row?.generation ?? 0;
}

/** The highest generation that this database has seen of the server, as far as it remembers; 0: none. */
export async function fenceOf(db: Kysely<CellTables>, serverId: string): Promise<number> {
  const rows = await db
    .selectFrom('server_fences')
    .select('generation')
    .where('server_id', 'in', [serverId, FLOOR])
    .execute();
  return Math.max(0, ...rows.map((row) => row.generation));
}

/** The floor is at least here. */
export async function raiseFloor(db: Kysely<CellTables>, generation: number): Promise<void> {
  await RAISE(db, { serverId: FLOOR, generation });
}
