// Migration records: one row per move in the global database, for a move belongs to no single cell. The row's uuid is
// also the placement consumer that keeps the source's room. Sagas write it; everybody else reads.
import { type Kysely, type Selectable, sql } from 'kysely';
import type { Flavor, MigrationStatus, MigrationType } from '../model/types.ts';
import { fixed } from '../store/fixed.ts';
import type { GlobalTables } from '../store/global-schema.ts';
import { isInReachableCell } from './cell-health.ts';
import type { Platform } from './platform.ts';

export interface Migration {
  readonly id: number;
  readonly uuid: string;
  readonly serverId: string;
  readonly projectId: string;
  readonly userId: string;
  readonly type: MigrationType;
  readonly status: MigrationStatus;
  readonly sourceCellId: string;
  readonly sourceHost: string;
  readonly destCellId: string | null;
  readonly destHost: string | null;
  readonly oldFlavor: Flavor;
  readonly newFlavor: Flavor;
  readonly sagaId: string;
  readonly confirmAt: number | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Nothing is under way any more, and nothing is kept. */
export const CLOSED_MIGRATIONS: readonly MigrationStatus[] = ['confirmed', 'reverted', 'done', 'error'];

const migrationOf = (row: Selectable<GlobalTables['migrations']>): Migration => ({
  id: row.id,
  uuid: row.uuid,
  serverId: row.server_id,
  projectId: row.project_id,
  userId: row.user_id,
  type: row.type as MigrationType,
  status: row.status as MigrationStatus,
  sourceCellId: row.source_cell_id,
  sourceHost: row.source_host,
  destCellId: row.dest_cell_id,
  destHost: row.dest_host,
  oldFlavor: JSON.parse(row.old_flavor_json) as Flavor,
  newFlavor: JSON.parse(row.new_flavor_json) as Flavor,
  sagaId: row.saga_id,
  confirmAt: row.confirm_at,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

export interface MigrationFilter {
  readonly serverId?: string;
  readonly projectId?: string;
  readonly userId?: string;
  /** Source or destination. */
  readonly host?: string;
  readonly sourceHost?: string;
  readonly status?: string;
  readonly type?: string;
  readonly changesSince?: number;
  readonly changesBefore?: number;
  readonly limit: number;
  /** Uuid of the last migration of the page before. */
  readonly marker?: string;
}

/** Newest first. A marker that does not exist gives `null`. */
export async function listMigrations(p: Platform, filter: MigrationFilter): Promise<Migration[] | null> {
  let query = p.stores.global.selectFrom('migrations').selectAll().orderBy('id', 'desc').limit(filter.limit);
  if (filter.serverId !== undefined) query = query.where('server_id', '=', filter.serverId);
  if (filter.projectId !== undefined) query = query.where('project_id', '=', filter.projectId);
  if (filter.userId !== undefined) query = query.where('user_id', '=', filter.userId);
  if (filter.status !== undefined) query = query.where('status', '=', filter.status);
  if (filter.type !== undefined) query = query.where('type', '=', filter.type);
  if (filter.sourceHost !== undefined) query = query.where('source_host', '=', filter.sourceHost);
  if (filter.changesSince !== undefined) query = query.where('updated_at', '>=', filter.changesSince);
  if (filter.changesBefore !== undefined) query = query.where('updated_at', '<=', filter.changesBefore);
  const { host, marker } = filter;
  if (host !== undefined)
    query = query.where((eb) => eb.or([eb('source_host', '=', host), eb('dest_host', '=', host)]));
  if (marker !== undefined) {
    const last = await p.stores.global
      .selectFrom('migrations')
      .select('id')
      .where('uuid', '=', marker)
      .executeTakeFirst();
    if (!last) return null;
    query = query.where('id', '<', last.id);
  }
  return (await query.execute()).map(migrationOf);
}

/** The finished move of a server that waits to be confirmed or reverted. */
export async function openMigration(db: Kysely<GlobalTables>, serverId: string): Promise<Migration | null> {
  const row = await db
    .selectFrom('migrations')
    .selectAll()
    .where('server_id', '=', serverId)
    .where('status', 'in', ['finished', 'confirming', 'reverting'])
    .executeTakeFirst();
  return row ? migrationOf(row) : null;
}

/** Moves that are answered at a time. */
const MOST_DUE = 20;

const DUE_CONFIRMATIONS = fixed<GlobalTables, { readonly now: number }, Selectable<GlobalTables['migrations']>>(
  (db, { now }) =>
    db
      .selectFrom('migrations')
      .selectAll()
      // Written out: SQLite plans anew at each execution if a parameter decides whether an index will do.
      .where('status', '=', sql.lit('finished'))
      .where('confirm_at', 'is not', null)
      .where('confirm_at', '<=', now)
      .where(({ exists, selectFrom }) =>
        exists(
          selectFrom('server_mappings')
            .select('server_mappings.server_id')
            .whereRef('server_mappings.server_id', '=', 'migrations.server_id')
            .where(isInReachableCell),
        ),
      )
      .orderBy('confirm_at')
      .limit(MOST_DUE),
);

/** Servers whose resize has waited longer than its window allows; at most MOST_DUE, those that have waited longest. */
export async function dueConfirmations(p: Platform): Promise<Migration[]> {
  const { rows } = await DUE_CONFIRMATIONS(p.stores.global, { now: p.clock.now() });
  return rows.map(migrationOf);
}
