// Cells, as operators see them; made by the name that a host's configuration gives. Their health is in cell-health.ts.
import { newId } from '../lib/ids.ts';
import type { Platform } from './platform.ts';

export interface CellRecord {
  readonly id: string;
  readonly name: string;
  readonly disabled: boolean;
  /** Since when its database cannot be reached, ms since epoch; null: it can. */
  readonly unreachableSince: number | null;
  readonly hosts: number;
  readonly servers: number;
}

export async function listCells(p: Platform): Promise<CellRecord[]> {
  const db = p.stores.global;
  const cells = await db.selectFrom('cells').selectAll().orderBy('name').execute();
  const count = <T extends { cell_id: string; n: number }>(rows: readonly T[], id: string): number =>
    Number(rows.find((row) => row.cell_id === id)?.n ?? 0);
  const hosts = await db
    .selectFrom('hosts')
    .select((eb) => ['cell_id', eb.fn.countAll<number>().as('n')])
    .groupBy('cell_id')
    .execute();
  const servers = await db
    .selectFrom('server_mappings')
    .select((eb) => ['cell_id', eb.fn.countAll<number>().as('n')])
    .where('deleted_at', 'is', null)
    .groupBy('cell_id')
    .execute();
  return cells.map((cell) => ({
    id: cell.id,
    name: cell.name,
    disabled: cell.disabled === 1,
    unreachableSince: cell.unreachable_since,
    hosts: count(hosts, cell.id),
    servers: count(servers, cell.id),
  }));
}

/** The cell of that name, made if there is none. Returns its id. */
export async function ensureCell(p: Platform, name: string): Promise<string> {
  await p.stores.global
    .insertInto('cells')
    .values({ id: newId(), name, disabled: 0, unreachable_since: null, created_at: p.clock.now() })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  const cell = await p.stores.global
    .selectFrom('cells')
    .select('id')
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
  return cell.id;
}
