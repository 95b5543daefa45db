// The end of history: records of what is over go when they are older than `history_retention_days`.
//
// Theory of operation. What goes: ended sagas with their journals, closed migrations, finished instance actions, paid debts,
// closed quarantine, and what is left of deleted servers. Each in pages, a page is one small transaction, and whoever has
// the turn (one row, taken by compare-and-set for TURN_MS) does so many pages at most. Two at once would do no harm: every
// statement is harmless when repeated.
// What a fence needs stays. In the global database a stalled conductor is refused because its saga's row does not carry
// its fence, and a row that is gone carries none. In a cell the server's row in server_fences refuses it: before that
// row may go, the cell's floor must be above its generation, and have been when the turn began, so that no statement
// that looked at the floor before can meet the row missing (see store/cell-fences.ts). So a deleted server goes in two
// turns. Hosts and storage hosts keep their own records. Guests that an operator released from quarantine are explained
// by that for ever.
// A cell that is down keeps all deleted servers where they are, for it may be one of those where they have been.
import { type Kysely, sql } from 'kysely';
import { floorOf, raiseFloor } from '../store/cell-fences.ts';
import type { CellTables } from '../store/cell-schema.ts';
import { CellDown } from '../store/stores.ts';
import { CLOSED_MIGRATIONS } from './migrations.ts';
import type { Platform } from './platform.ts';

/** How long one process has the turn, and when the next begins. */
export const TURN_MS = 60_000;
const PAGE = 200;
/** Of each kind in one turn. */
const PAGES = 10;
const DAY_MS = 86_400_000;

/** What has gone in one turn, by kind. */
export interface Trimmed {
  readonly sagas: number;
  readonly migrations: number;
  readonly actions: number;
  readonly debts: number;
  readonly quarantine: number;
  readonly servers: number;
}

/** One turn; null when it is not this process's, or history is kept for ever. */
export async function trimHistory(p: Platform): Promise<Trimmed | null> {
  const { historyRetentionDays } = p.settings;
  if (historyRetentionDays === 0 || !(await takeTurn(p))) return null;
  const before = p.clock.now() - historyRetentionDays * DAY_MS;
  const trimmed: Trimmed = {
    sagas: await inPages(() => trimSagas(p, before)),
    migrations: await inPages(() => trimMigrations(p, before)),
    actions: await trimActions(p, before),
    debts: await inPages(() => trimDebts(p, before)),
    quarantine: await inPages(() => trimQuarantine(p, before)),
    servers: await inPages(() => trimServers(p, before)),
  };
  if (Object.values(trimmed).some((count) => count > 0)) p.log.info({ trimmed }, 'history has been trimmed');
  return trimmed;
}

async function takeTurn(p: Platform): Promise<boolean> {
  const now = p.clock.now();
  const { numUpdatedRows } = await p.stores.global
    .updateTable('turns')
    .set({ next_at: now + TURN_MS })
    .where('name', '=', 'history')
    // One further away than a turn was taken by a clock that has been set back since.
    .where((eb) => eb.or([eb('next_at', '<=', now), eb('next_at', '>', now + TURN_MS)]))
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

/** Repeats while pages are full; how many rows went. */
async function inPages(page: () => Promise<number>): Promise<number> {
  let gone = 0;
  for (let count = 0; count < PAGES; count += 1) {
    const more = await page();
    gone += more;
    if (more < PAGE) break;
  }
  return gone;
}

const countOf = ({ numDeletedRows }: { readonly numDeletedRows: bigint }): number => Number(numDeletedRows);

/** Not those that a move which still waits points to: its view tells of them. */
async function trimSagas({ stores: { global } }: Platform, before: number): Promise<number> {
  const old = global
    .selectFrom('sagas')
    .select('id')
    .where('ended_at', '<', before)
    .where(sql<boolean>`status in ('done', 'unwound')`)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('migrations')
            .select('migrations.id')
            .whereRef('migrations.saga_id', '=', 'sagas.id')
            .where('migrations.status', 'not in', CLOSED_MIGRATIONS),
        ),
      ),
    )
    .orderBy('ended_at')
    .limit(PAGE);
  return countOf(await global.deleteFrom('sagas').where('id', 'in', old).executeTakeFirstOrThrow());
}

async function trimMigrations({ stores: { global } }: Platform, before: number): Promise<number> {
  const old = global
    .selectFrom('migrations')
    .select('id')
    .where('updated_at', '<', before)
    .where('status', 'in', CLOSED_MIGRATIONS)
    .orderBy('updated_at')
    .limit(PAGE);
  return countOf(await global.deleteFrom('migrations').where('id', 'in', old).executeTakeFirstOrThrow());
}

async function trimDebts({ stores: { global } }: Platform, before: number): Promise<number> {
  const old = global.selectFrom('debts').select('id').where('paid_at', '<', before).orderBy('paid_at').limit(PAGE);
  return countOf(await global.deleteFrom('debts').where('id', 'in', old).executeTakeFirstOrThrow());
}

async function trimQuarantine({ stores: { global } }: Platform, before: number): Promise<number> {
  const old = global
    .selectFrom('quarantine')
    .select('id')
    .where('ended_at', '<', before)
    .where('outcome', '<>', 'released')
    .orderBy('ended_at')
    .limit(PAGE);
  return countOf(await global.deleteFrom('quarantine').where('id', 'in', old).executeTakeFirstOrThrow());
}

const cellIds = async (p: Platform): Promise<string[]> =>
  (await p.stores.global.selectFrom('cells').select('id').orderBy('id').execute()).map(({ id }) => id);

async function trimActions(p: Platform, before: number): Promise<number> {
  let gone = 0;
  for (const cellId of await cellIds(p)) gone += await inPages(() => trimActionsIn(p, cellId, before));
  return gone;
}

async function trimActionsIn(p: Platform, cellId: string, before: number): Promise<number> {
  try {
    const cell = await p.stores.cell(cellId);
    const old = cell
      .selectFrom('server_actions')
      .select('id')
      .where('finished_at', '<', before)
      .orderBy('finished_at')
      .limit(PAGE);
    return countOf(await cell.deleteFrom('server_actions').where('id', 'in', old).executeTakeFirstOrThrow());
  } catch (error) {
    if (error instanceof CellDown) return 0;
    throw error;
  }
}

/**
 * A page of deleted servers: nothing is left of those that every cell's floor is above. For the others all floors are
 * raised, above whatever any cell has seen of them: their turn is the next.
 */
async function trimServers(p: Platform, before: number): Promise<number> {
  const { global } = p.stores;
  const rows = await global
    .selectFrom('server_mappings')
    .select(['server_id', 'generation'])
    .where('deleted_at', '<', before)
    .orderBy('deleted_at')
    .limit(PAGE)
    .execute();
  if (rows.length === 0) return 0;
  try {
    const cells: Kysely<CellTables>[] = [];
    for (const cellId of await cellIds(p)) cells.push(await p.stores.cell(cellId));
    const free = await freeOf(cells, rows);
    if (free.length === 0) return 0;
    for (const cell of cells) await forget(cell, free);
    const query = global.deleteFrom('server_mappings').where('server_id', 'in', free).where('deleted_at', '<', before);
    return countOf(await query.executeTakeFirstOrThrow());
  } catch (error) {
    if (error instanceof CellDown) return 0;
    throw error;
  }
}

interface Deleted {
  readonly server_id: string;
  readonly generation: number;
}

/** Those of the servers whose fences no cell needs; the floors rise for the rest. */
async function freeOf(cells: readonly Kysely<CellTables>[], deleted: readonly Deleted[]): Promise<string[]> {
  const ids = deleted.map((row) => row.server_id);
  // The delete's own, which may have written to no cell under its last claim.
  const seen = new Map(deleted.map((row) => [row.server_id, row.generation]));
  const floors: number[] = [];
  for (const cell of cells) {
    floors.push(await floorOf(cell));
    const rows = await cell.selectFrom('server_fences').selectAll().where('server_id', 'in', ids).execute();
    for (const row of rows) seen.set(row.server_id, Math.max(row.generation, seen.get(row.server_id) ?? 0));
  }
  const lowest = Math.min(...floors);
  const needed = Math.max(0, ...seen.values()) + 1;
  if (needed > lowest) for (const cell of cells) await raiseFloor(cell, needed);
  return ids.filter((id) => (seen.get(id) ?? 0) < lowest);
}

/** Nothing of the deleted servers is left in the cell. */
const forget = (cell: Kysely<CellTables>, ids: readonly string[]): Promise<void> =>
  cell.transaction().execute(async (trx) => {
    await trx.deleteFrom('server_actions').where('server_id', 'in', ids).execute();
    await trx.deleteFrom('block_device_mappings').where('server_id', 'in', ids).execute();
    await trx.deleteFrom('servers').where('id', 'in', ids).where('deleted_at', 'is not', null).execute();
    await trx.deleteFrom('server_fences').where('server_id', 'in', ids).execute();
  });
